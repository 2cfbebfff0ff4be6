// Before each test file: where the properties' random cases begin. The gate's are the same on every run, so that a red gate is
// red again; a soak draws its own. SELVAGE_SEED sets it.
import { configureGlobal, readConfigureGlobal } from "fast-check";

const GATE_SEED = 20_261_122;

const { SELVAGE_SEED: given, SELVAGE_SOAK: soak } = process.env;
const own = soak === "1" ? undefined : GATE_SEED;
const seed = given === undefined ? own : Number(given);
if (seed !== undefined && !Number.isSafeInteger(seed))
  throw new RangeError(`SELVAGE_SEED: expected a whole number, got ${given}`);
if (seed !== undefined) configureGlobal({ ...readConfigureGlobal(), seed });
