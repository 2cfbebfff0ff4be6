import { parentPort } from "node:worker_threads";

// Loading it as well as resolving it: a source that Node cannot strip fails here.
await import("@selvage/fabric");
parentPort?.postMessage(import.meta.resolve("@selvage/fabric"));
