import {
  assert,
  describe as describeValue,
  FABRIC_ERRORS,
  FabricError,
  fromWire,
  InvariantError,
  invalidArgument,
  isFabricError,
  toWire,
  type FabricErrorCode,
  type Recovery,
} from "@selvage/fabric";
import { describe, expect, expectTypeOf, it } from "vitest";

/** What a thrown value becomes on another thread. */
const crossed = (thrown: unknown): Error => fromWire(structuredClone(toWire(thrown)));

const codes = Object.keys(FABRIC_ERRORS) as FabricErrorCode[];

/** One branch a code: a new code makes this function, and every switch like it, fail to compile. */
function advice(code: FabricErrorCode): Recovery {
  switch (code) {
    case "DISCONNECTED":
    case "STORE_UNAVAILABLE":
      return "reconnect";
    case "LEASE_EXPIRED":
    case "STALE_EPOCH":
      return "reacquire";
    case "FENCED":
    case "CORRUPT_RECORD":
      return "operator";
    case "CAPACITY_EXCEEDED":
      return "wait";
    case "REVOKED":
      return "readmit";
    case "TIMED_OUT":
      return "retry";
    case "UNSUPPORTED":
    case "INVALID_ARGUMENT":
    case "NOT_FOUND":
    case "CONFLICT":
    case "EXHAUSTED":
    case "GRAPH_CYCLE":
    case "UNRESOLVED_REF":
    case "DECODE":
    case "ENCODE":
      return "none";
  }
}

describe("FabricError", () => {
  it.each(codes)("%s has a number of its own and says what a caller can do", (code) => {
    const error = new FabricError(code, "why", { n: 1 });
    expect(error).toBeInstanceOf(Error);
    expect([error.name, error.recovery]).toEqual(["FabricError", advice(code)]);
    const alike = codes.filter((other) => FABRIC_ERRORS[other].status === error.status);
    expect(alike).toEqual([code]);
  });

  it("has a code that a switch can exhaust", () => {
    expectTypeOf(advice).parameter(0).toEqualTypeOf<keyof typeof FABRIC_ERRORS>();
    expectTypeOf<string>().not.toExtend<FabricErrorCode>();
  });
});

describe("isFabricError()", () => {
  it("knows errors from another copy of the package, whose class is another", () => {
    class FabricErrorOfAnotherInstall extends Error {
      readonly code = "FENCED";
    }
    const foreign = new FabricErrorOfAnotherInstall("from elsewhere");
    Object.defineProperty(foreign, Symbol.for("selvage.error"), { value: true });
    expect([foreign instanceof FabricError, isFabricError(foreign)]).toEqual([false, true]);
  });

  it.each([
    undefined,
    null,
    5,
    "FENCED",
    new Error("FENCED"),
    { code: "FENCED" },
    new InvariantError("x"),
  ])("turns away %o", (value) => {
    expect(isFabricError(value)).toBe(false);
  });
});

describe("toWire() and fromWire()", () => {
  it("bring every code across a thread with its details, message, stack and causes", () => {
    for (const code of codes) {
      const cause = new TypeError("of the platform's", {
        cause: new FabricError("DECODE", "inner"),
      });
      const error = new FabricError(code, "why", { n: 1, list: ["a"], none: null }, { cause });
      const came = crossed(error) as FabricError;
      expect(isFabricError(came)).toBe(true);
      expect([came.code, came.status, came.recovery]).toEqual([code, error.status, error.recovery]);
      expect([came.message, came.details, came.stack]).toEqual(["why", error.details, error.stack]);
      const inner = came.cause as Error;
      expect([inner.name, inner.message, isFabricError(inner)]).toEqual([
        "TypeError",
        "of the platform's",
        false,
      ]);
      expect(inner.cause).toMatchObject({ code: "DECODE", message: "inner" });
    }
  });

  it("bring what is no error at all as an error that describes it", () => {
    const values = ["text", 5, null, undefined, { a: 1 }, [1, 2], 5n, () => 0];
    expect(values.map((value) => crossed(value).message)).toEqual([
      '"text"',
      "5",
      "null",
      "undefined",
      "a Object",
      "an array of 2",
      "5n",
      "a function",
    ]);
  });

  it("end with a chain of causes that is a cycle, or long", () => {
    const error = new Error("itself");
    error.cause = error;
    let depth = 0;
    for (let at: unknown = crossed(error); at instanceof Error; at = at.cause) depth++;
    expect(depth).toBe(9);
  });
});

describe("what messages are made of", () => {
  it("a value is described shortly, whatever it is", () => {
    expect(
      ["a".repeat(1_000), Object.create(null), new Map(), NaN, Symbol("s")].map(describeValue),
    ).toEqual([`"${"a".repeat(57)}..."`, "an object", "a Map", "NaN", "Symbol(s)"]);
  });

  it("invalidArgument() says the name, what was expected and what came", () => {
    const error = invalidArgument("ttlMs", "milliseconds", "soon");
    expect([error.code, error.message]).toEqual([
      "INVALID_ARGUMENT",
      'ttlMs: expected milliseconds, got "soon"',
    ]);
    expect(error.details).toEqual({
      argument: "ttlMs",
      expected: "milliseconds",
      actual: '"soon"',
    });
  });

  it("assert() throws InvariantError with the claim and the value, and is silent where it holds", () => {
    expect(() => assert(false, "the sky is up", 5)).toThrow(
      new InvariantError("broken invariant: the sky is up (5)"),
    );
    expect(() => assert(true, "the sky is up")).not.toThrow();
  });
});
