import { describe, expect, it } from "vitest";
import { bytesApart, fuzzApart } from "./queue-apart.ts";

describe("a queue's memory", { timeout: 120_000 }, () => {
  it("R5, Q1: damaged at each bit of its header, or anywhere: a typed error or a value of the ring", async () => {
    const { values, errors, slowestMs } = await fuzzApart(4_300, 20_261_122);
    expect(errors).toHaveProperty("CORRUPT_RECORD");
    expect(values).toBeGreaterThan(1_000);
    expect(slowestMs).toBeLessThan(5_000);
    const known = [
      "CORRUPT_RECORD",
      "CONFLICT",
      "DISCONNECTED",
      "STALE_EPOCH",
      "CAPACITY_EXCEEDED",
    ];
    expect([...known, "INVALID_ARGUMENT"]).toEqual(expect.arrayContaining(Object.keys(errors)));
  });

  it("takes nothing from the heap on the way", async () => {
    const bytes = await bytesApart(2_000_000);
    expect(Object.keys(bytes).length).toBe(11);
    for (const [name, each] of Object.entries(bytes)) expect(each, name).toBeLessThan(1);
  });
});
