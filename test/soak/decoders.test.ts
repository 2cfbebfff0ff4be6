import { expect, it } from "vitest";
import { fuzzWithin, HEAP_MIB } from "../fuzz/run.ts";

const inputs = 200_000;

it(`S1: every decoder answers ${inputs} inputs within ${HEAP_MIB} MiB`, async () => {
  const outcomes = await fuzzWithin(inputs, Date.now() % 2 ** 31);
  for (const { name, values, errors } of outcomes)
    console.log(`${name}: ${inputs} inputs, ${values} values, ${errors} typed errors`);
  expect(outcomes.length).toBeGreaterThan(10);
});
