import { expect, it } from "vitest";
import { fuzzWithin, HEAP_MIB } from "./run.ts";

const inputs = 2_000;

it(`S1: every decoder answers any bytes within ${HEAP_MIB} MiB: a typed error, or a value that stands`, async () => {
  const outcomes = await fuzzWithin(inputs, 20_261_122);
  expect(outcomes.map(({ name }) => name)).toEqual([
    "json",
    "msgpack",
    "columns",
    "record",
    "text",
    "locator",
    "two-slot record",
    "handoff blocks",
    "handoff state",
    "durable blocks",
    "durable state",
    "store blocks",
    "hash map",
    "block file",
  ]);
  // Fuzzing that never gets past the first check tests that check alone.
  for (const { name, values, errors } of outcomes) {
    expect([name, values > inputs / 500]).toEqual([name, true]);
    expect([name, errors > inputs / 500]).toEqual([name, true]);
  }
}, 120_000);
