import { expect, it } from "vitest";
import { fuzzApart } from "../threads/queue-apart.ts";
import { consumerDeathRounds, lapseRounds, producerDeathRounds } from "../threads/queue-rounds.ts";

it("R1, R2, R4: a queue's producer is ended anywhere", async () => {
  const rounds = 2_000;
  const { byLife, torn } = await producerDeathRounds(rounds);
  console.log(`${rounds} producers ended: ${JSON.stringify(byLife)}, ${torn} claims torn`);
  expect(Object.keys(byLife).length).toBe(4);
  for (const count of Object.values(byLife)) expect(count).toBeGreaterThanOrEqual(100);
  expect(torn).toBeGreaterThanOrEqual(100);
});

it("R1: a queue's consumer is ended anywhere", async () => {
  const rounds = 900;
  const { byLife, torn } = await consumerDeathRounds(rounds);
  console.log(
    `${rounds} consumers ended: ${JSON.stringify(byLife)}, ${torn} values lost and counted`,
  );
  for (const count of Object.values(byLife)) expect(count).toBeGreaterThanOrEqual(100);
});

it("R7: a queue's lease ends, and no byte lands in the next tenant's region", async () => {
  const rounds = 10_000;
  const operations = await lapseRounds(rounds);
  console.log(`${rounds} leases ended under a queue, ${operations} operations before their ends`);
  expect(operations).toBeGreaterThan(rounds);
});

it("R5, Q1: damaged rings within 128 MiB", async () => {
  const seed = Date.now() % 2 ** 31;
  const { inputs, values, errors, slowestMs } = await fuzzApart(200_000, seed);
  const told = JSON.stringify(errors);
  console.log(
    `${inputs} damaged rings, ${values} values, ${told}, ${Math.round(slowestMs)} ms at most`,
  );
  expect(errors).toHaveProperty("CORRUPT_RECORD");
});
