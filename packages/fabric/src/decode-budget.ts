/**
 * What decoding bytes of strangers may cost. A few bytes can ask for gigabytes (an array of arrays of 65,535 slots
 * each), and a heap that runs over cannot be caught. So bytes are walked through before anything is made of them.
 */
import { FabricError, invalidArgument } from "./errors.ts";

/** Bounds of one decoding; the ones left out are those of {@link DECODE_BUDGET}. */
export interface DecodeBudget {
  /** Longest input, in bytes. */
  readonly bytes?: number;
  /** Most values and keys, counted together: containers, what is in them, and the keys of maps. */
  readonly elements?: number;
  /** Deepest nesting of arrays and maps: 1 is a list of numbers, 0 a number by itself. */
  readonly depth?: number;
}

/** The default: whatever fits in it is decoded within a heap of 128 MiB. */
export const DECODE_BUDGET: Readonly<Required<DecodeBudget>> = Object.freeze({
  bytes: 16 * 1024 * 1024,
  elements: 1_000_000,
  depth: 100,
});

/** Fills in the defaults. @throws FabricError `INVALID_ARGUMENT`. */
export function resolveBudget(budget: DecodeBudget = {}): Required<DecodeBudget> {
  if (typeof budget !== "object" || budget === null)
    throw invalidArgument("budget", "{ bytes, elements, depth }", budget);
  const resolved = { ...DECODE_BUDGET };
  for (const name of ["bytes", "elements", "depth"] as const) {
    const most = budget[name] ?? resolved[name];
    if (!Number.isSafeInteger(most) || most < 0)
      throw invalidArgument(`budget.${name}`, "a whole number from 0 up", most);
    resolved[name] = most;
  }
  return resolved;
}

/** What an input has too much of. */
export interface Excess {
  readonly what: keyof DecodeBudget;
  readonly came: number;
  readonly most: number;
}

/** The error of an input, or of a value to be encoded, that is beyond its budget. */
export function overBudget(code: "DECODE" | "ENCODE", codec: string, excess: Excess): FabricError {
  const { what, came, most } = excess;
  const verb = code === "DECODE" ? "decode" : "encode";
  return new FabricError(code, `Cannot ${verb}: ${came} ${what}, at most ${most}`, {
    codec,
    what,
    came,
    most,
  });
}
