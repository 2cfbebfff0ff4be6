import { defineConfig } from "vitest/config";
import { testLane } from "./scripts/test-lane.ts";

/** Long counts, from the sources: what `npm run soak` runs. */
export default defineConfig(testLane({ source: true, soak: true }));
