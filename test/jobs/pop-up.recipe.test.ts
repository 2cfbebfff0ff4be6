import { expect, it } from "vitest";
import { popUp } from "../../examples/pop-up/pop-up.ts";

it("counts every chunk once, while threads are taken away under their chunks and come back", async () => {
  const { primes, chunks, lost, attempts, leases } = await popUp(12, [1, 0, 2]);
  expect([primes, chunks, leases]).toEqual([21_221, 12, 0]);
  expect(attempts).toBe(chunks + lost);
});
