/**
 * Operating failures. One class with a code, because structured clone strips a class but not a code (a code
 * survives `postMessage` in {@link FabricErrorWire}), and because `instanceof` fails between two installs.
 * Expected outcomes are returned, not thrown; broken invariants are {@link InvariantError}.
 */

/** What a caller can do about an error. */
export type Recovery =
  | "reconnect" // try again on a new connection
  | "reacquire" // take a new lease
  | "operator" // a person has to look
  | "wait" // ask for less, or later
  | "readmit" // go through admission again
  | "retry" // the same call may succeed
  | "none"; // a retry cannot help

/** Every code with its number and its recovery. Codes and numbers are stable within a major; messages are not. */
export const FABRIC_ERRORS = {
  DISCONNECTED: { status: -1, recovery: "reconnect" },
  LEASE_EXPIRED: { status: -2, recovery: "reacquire" },
  FENCED: { status: -3, recovery: "operator" },
  CAPACITY_EXCEEDED: { status: -4, recovery: "wait" },
  UNSUPPORTED: { status: -5, recovery: "none" },
  REVOKED: { status: -6, recovery: "readmit" },
  STALE_EPOCH: { status: -7, recovery: "reacquire" },
  CORRUPT_RECORD: { status: -8, recovery: "operator" },
  STORE_UNAVAILABLE: { status: -9, recovery: "reconnect" },
  INVALID_ARGUMENT: { status: -10, recovery: "none" },
  NOT_FOUND: { status: -11, recovery: "none" },
  CONFLICT: { status: -12, recovery: "none" },
  TIMED_OUT: { status: -13, recovery: "retry" },
  EXHAUSTED: { status: -14, recovery: "none" },
  GRAPH_CYCLE: { status: -101, recovery: "none" },
  UNRESOLVED_REF: { status: -102, recovery: "none" },
  DECODE: { status: -200, recovery: "none" },
  ENCODE: { status: -201, recovery: "none" },
} as const;

/** What went wrong, for a program to branch on; a `switch` over it is exhaustive. See `docs/errors.md`. */
export type FabricErrorCode = keyof typeof FABRIC_ERRORS;

/** Plain data that crosses a thread and a log line. */
export type ErrorDetails = Readonly<Record<string, ErrorDetail>>;
/** One detail of an error. */
export type ErrorDetail = string | number | boolean | null | readonly string[];

const brand: unique symbol = Symbol.for("selvage.error") as never;

/** An operating failure. Catch it by {@link isFabricError} and `code`. */
export class FabricError extends Error {
  // On the prototype: a property of its own would be most of what an error costs to make, beside its stack.
  static {
    Object.defineProperty(this.prototype, brand, { value: true });
  }

  /** What went wrong. */
  readonly code: FabricErrorCode;
  /** The code as a number, as grafOS hosts return it. */
  readonly status: number;
  /** What a caller can do. */
  readonly recovery: Recovery;
  /** What broke, as plain data. */
  readonly details: ErrorDetails;

  constructor(
    code: FabricErrorCode,
    message: string,
    details: ErrorDetails = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = "FabricError";
    this.code = code;
    this.status = FABRIC_ERRORS[code].status;
    this.recovery = FABRIC_ERRORS[code].recovery;
    this.details = details;
  }
}

/** True for a {@link FabricError} from any copy of this package. */
export function isFabricError(value: unknown): value is FabricError {
  return typeof value === "object" && value !== null && brand in value;
}

/** The form that crosses `postMessage`; causes become wire forms too, foreign errors keep name and message. */
export interface FabricErrorWire {
  readonly code: FabricErrorCode | null;
  readonly name: string;
  readonly message: string;
  readonly details: ErrorDetails;
  readonly stack: string | null;
  readonly cause: FabricErrorWire | null;
}

/** How many causes deep {@link toWire} goes: a cause chain may be a cycle. */
const causesMax = 8;

/** Packs any thrown value for `postMessage`. */
export function toWire(thrown: unknown, depth = 0): FabricErrorWire {
  if (!(thrown instanceof Error) && !isFabricError(thrown)) {
    return {
      code: null,
      name: "Error",
      message: describe(thrown),
      details: {},
      stack: null,
      cause: null,
    };
  }
  const cause = thrown.cause;
  return {
    code: isFabricError(thrown) ? thrown.code : null,
    name: thrown.name,
    message: thrown.message,
    details: isFabricError(thrown) ? thrown.details : {},
    stack: thrown.stack ?? null,
    cause: cause === undefined || depth >= causesMax ? null : toWire(cause, depth + 1),
  };
}

/** Unpacks what {@link toWire} packed: a {@link FabricError} where a code crossed, else a plain `Error`. */
export function fromWire(wire: FabricErrorWire): Error {
  const options = wire.cause === null ? undefined : { cause: fromWire(wire.cause) };
  // A code of a later version is unknown here: its name and message are kept.
  const error =
    wire.code === null || !Object.hasOwn(FABRIC_ERRORS, wire.code)
      ? new Error(wire.message, options)
      : new FabricError(wire.code, wire.message, wire.details, options);
  error.name = wire.name;
  if (wire.stack !== null) error.stack = wire.stack;
  return error;
}

/** Says what a value is, shortly, for a message: "what was expected, what came". */
export function describe(value: unknown): string {
  if (typeof value === "string")
    return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return "a function";
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === "object" && value !== null) {
    const name: unknown = value.constructor?.name;
    return typeof name === "string" && name !== "" ? `a ${name}` : "an object";
  }
  return String(value);
}

/** An argument at the public edge is off: says what was expected and what came. */
export function invalidArgument(name: string, expected: string, actual: unknown): FabricError {
  const came = describe(actual);
  return new FabricError("INVALID_ARGUMENT", `${name}: expected ${expected}, got ${came}`, {
    argument: name,
    expected,
    actual: came,
  });
}

/** A bug, ours or the caller's. Never caught: the worker dies, its supervisor acts. */
export class InvariantError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "InvariantError";
  }
}

/** Throws {@link InvariantError} unless `condition`. `claim` is a constant: a template is built even when it holds. */
export function assert(condition: boolean, claim: string, value?: unknown): asserts condition {
  if (!condition) throw new InvariantError(`broken invariant: ${claim} (${describe(value)})`);
}
