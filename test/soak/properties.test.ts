/** The gate's properties over random cases that the gate does not see: it begins from one seed. */
import { randomInt } from "node:crypto";
import { expect, it } from "vitest";
import { command } from "../../scripts/command.ts";

const HOUR_MS = 3_600_000;
const seeds = Array.from({ length: 20 }, () => randomInt(2 ** 31));

it.each(seeds)("hold from seed %i", async (seed) => {
  const { code, output } = await command(["npx", "vitest", "run", "packages", "test/fuzz"], {
    // The inner run is the gate's lane, not the soak's.
    env: { SELVAGE_SEED: String(seed), SELVAGE_SOAK: "", VITEST: "" },
    timeoutMs: HOUR_MS,
  });
  expect(code, output).toBe(0);
});
