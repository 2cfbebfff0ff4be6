import { InvariantError } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { History } from "../src/history.ts";

describe("a history", () => {
  it("keeps who asked what, when, and how it ended, in the order of asking", () => {
    let nowMs = 5;
    const history = new History(() => nowMs);
    const first = history.invoke("ann", "a");
    const second = history.invoke("ben", "b");
    nowMs = 9;
    history.ok(second, 2);
    history.fail(first);
    const third = history.invoke("ann", "c");
    history.info(third);
    expect(history.operations()).toEqual([
      {
        index: 0,
        client: "ann",
        input: "a",
        outcome: "fail",
        output: undefined,
        invokedSeq: 0,
        returnedSeq: 3,
        invokedAtMs: 5,
        returnedAtMs: 9,
      },
      {
        index: 1,
        client: "ben",
        input: "b",
        outcome: "ok",
        output: 2,
        invokedSeq: 1,
        returnedSeq: 2,
        invokedAtMs: 5,
        returnedAtMs: 9,
      },
      {
        index: 2,
        client: "ann",
        input: "c",
        outcome: "info",
        output: undefined,
        invokedSeq: 4,
        returnedSeq: undefined,
        invokedAtMs: 9,
        returnedAtMs: undefined,
      },
    ]);
    expect(history.length).toBe(3);
  });

  it("counts an operation that was never ended as one whose effect nobody knows", () => {
    const history = new History(() => 0);
    history.invoke("ann", "a");
    expect(history.operations()[0]?.outcome).toBe("info");
  });

  it("lets a late answer settle what a client gave up on, once", () => {
    const history = new History(() => 0);
    const asked = history.invoke("ann", "a");
    history.info(asked);
    history.ok(asked, 1);
    expect(history.operations()[0]).toMatchObject({ outcome: "ok", output: 1, returnedSeq: 1 });
    expect(() => history.ok(asked)).toThrow(InvariantError);
    expect(() => history.fail(asked)).toThrow(InvariantError);
    expect(() => history.info(asked)).toThrow(InvariantError);
  });

  it("gives copies, as plain data", () => {
    const history = new History(() => 0);
    const asked = history.invoke("ann", { type: "poll" });
    const before = history.operations();
    history.ok(asked, 3);
    expect(before[0]?.outcome).toBe("info");
    expect(structuredClone(history.operations())).toEqual(history.operations());
    const text = JSON.stringify(history);
    expect(JSON.parse(text)).toMatchObject([{ client: "ann", output: 3 }]);
  });
});
