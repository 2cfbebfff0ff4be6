import { defineConfig } from "vitest/config";
import { testLane } from "./scripts/test-lane.ts";

/** The same tests against the built packages: what `npm run test:dist` runs. */
export default defineConfig(testLane({ source: false }));
