/** The map and the filter on another thread: as a stage's module, and as a worker that is sent each item and sends back what is left. */
import { parentPort, workerData } from "node:worker_threads";
import { filter, map } from "./pipeline-workload.ts";

/** The stage. */
// oxlint-disable-next-line import/no-default-export -- what a stage's module gives is its default export.
export default function work(item: number | Uint8Array): number | Uint8Array | undefined {
  if (typeof item !== "number") return item;
  const value = map(item);
  return filter(value) ? value : undefined;
}

if (workerData === "messages") {
  parentPort?.on("message", (item: number | Uint8Array | null) => {
    if (item === null) return parentPort?.postMessage(null);
    const value = work(item);
    if (value !== undefined) parentPort?.postMessage(value);
  });
  // From here on the clock runs.
  parentPort?.postMessage("ready");
}
