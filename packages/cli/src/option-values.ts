/** Values of options, as they are typed. */
import { InvalidArgumentError } from "commander";

/** A whole number from 1 up. */
export function parseCount(text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(count) || count < 1)
    throw new InvalidArgumentError("Expected a whole number above 0.");
  return count;
}

/** A whole number from 0 up. */
export function parseAmount(text: string): number {
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw new InvalidArgumentError("Expected a whole number from 0 up.");
  return Number(text);
}

/** A whole number, also below 0. */
export function parseInteger(text: string): number {
  if (!/^-?\d+$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw new InvalidArgumentError("Expected a whole number.");
  return Number(text);
}
