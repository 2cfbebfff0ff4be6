import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";

const LANE_ENDING = process.execArgv.includes("--conditions=@selvage/source")
  ? "/packages/fabric/src/index.ts"
  : "/packages/fabric/dist/index.js";

test("a worker thread that a test starts loads the packages of the same lane", async () => {
  const resolver = new URL("./lane-worker.ts", import.meta.url);
  const worker = new Worker(resolver);
  const [resolved] = (await once(worker, "message")) as [string];
  await worker.terminate();
  expect(resolved.endsWith(LANE_ENDING), resolved).toBe(true);
});

test("a test can ask for a garbage collection, for the tests that count what is left", () => {
  expect(globalThis.gc).toBeTypeOf("function");
});
