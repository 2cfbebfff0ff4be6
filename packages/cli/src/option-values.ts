/** Values of options, as they are typed. */
import { InvalidArgumentError } from "commander";

/** A whole number from 1 up. */
export function parseCount(text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(count) || count < 1)
    throw new InvalidArgumentError("Expected a whole number above 0.");
  return count;
}
