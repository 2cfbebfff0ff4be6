import type { ViteUserConfig } from "vitest/config";
import { COMPILED } from "./command.ts";

const SOAK_FILES = "test/soak/**/*.test.ts";
/**
 * What the built packages need not run again: what no package owns, and the pure packages' own tests, some of which reach into
 * sources. Of the package above them, which meets the host, what starts threads of built files runs again.
 */
const SOURCE_ONLY = [
  "test/**",
  "packages/{fabric,fence,leasekit,collections,batch,jobs,pipeline,sim}/test/**",
  // Files, processes and values: no other code than from sources.
  "packages/cli/test/{doctor,jobs,leases,program,run}.test.ts",
  "packages/node/test/{block-file*,careless,checkpoints,dead-letters,encoded-data,executor,executor-threads,fabric,handoff,live-view,memory-*,msgpack-*,resume,run-tasks,spill,stage-frames,staged-pipeline,system-clock}.test.ts",
  "packages/node/test/jobs/{known-jobs,sqlite-job-store}.test.ts",
];
const HOUR_MS = 3_600_000;
/** What hangs ends, and what only waits for a busy machine does not. */
const TEST_MS = 60_000;

export interface TestLane {
  /** True: packages resolve to `src`. False: to `dist`. */
  readonly source: boolean;
  /** True: the long counts only. */
  readonly soak?: boolean;
}

/** One lane of tests. What `@selvage/*` resolves to is what the lanes differ in; some files run on sources only. */
export function testLane({ source, soak = false }: TestLane): ViteUserConfig {
  const conditions = source ? ["@selvage/source"] : [];
  const resolve = { conditions: [...conditions, "node", "import", "module", "default"] };
  return {
    resolve,
    ssr: { resolve },
    test: {
      include: soak ? [SOAK_FILES] : ["packages/*/test/**/*.test.ts", "test/**/*.test.ts"],
      exclude: [
        "**/node_modules/**",
        ...(soak ? [] : [SOAK_FILES]),
        ...(source || soak ? [] : SOURCE_ONLY),
      ],
      passWithNoTests: soak,
      setupFiles: ["./scripts/test-seed.ts"],
      allowOnly: false,
      pool: "forks",
      // One file more than the cores of the smallest machine that the gate runs on: a third of their time they wait, for leases that
      // run out and processes that start. No test asserts a time.
      maxWorkers: soak ? 1 : 3,
      // Workers that a test starts are Node's own, not vitest's: they must resolve as the test does.
      execArgv: [...conditions.map((name) => `--conditions=${name}`), "--expose-gc"],
      // The processes and threads that tests start are many, and start from sources.
      env: { NODE_COMPILE_CACHE: COMPILED, ...(soak ? { SELVAGE_SOAK: "1" } : {}) },
      testTimeout: soak ? HOUR_MS : TEST_MS,
      hookTimeout: TEST_MS,
    },
  };
}
