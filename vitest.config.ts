import { defineConfig } from "vitest/config";
import { testLane } from "./scripts/test-lane.ts";

/** The tests against the sources: what `npm test` runs. */
export default defineConfig(testLane({ source: true }));
