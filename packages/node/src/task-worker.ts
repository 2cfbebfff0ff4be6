/** What a task's thread runs: one request after the other, each by the module that it names. */
import { receiveMessageOnPort, workerData } from "node:worker_threads";
import { runRequest, type FarPorts, type TaskFunction, type TaskRequest } from "@selvage/batch";
import { chunkTask, jobTask, type ChunkWork, type JobModuleBody } from "@selvage/jobs";
import { FabricError, fromWire, InvariantError, toWire } from "@selvage/fabric";
import { attachments } from "./fabric.ts";
import { jobCodec } from "./job-codec.ts";
import { taskCodecs } from "./task-codecs.ts";
import type { FromTask, TaskWorkerData, ToTask } from "./task-messages.ts";

const { port, answered, modules } = workerData as TaskWorkerData;
const answers = new Int32Array(answered);
/** Progress is told to the owner at most this often, in milliseconds. The stamp in shared memory moves every time. */
const toldEveryMs = 50;

/** How often the progress stamp moves while the owner is waited for, in milliseconds. */
const stampedEveryMs = 20;

let abort = new AbortController();
let hasServed = false;

port.on("message", (message: ToTask) => {
  if (message.type === "run") void serve(message.request);
  // A request that the owner answered is fetched by `acquire`; what else comes is an abort.
  else if (message.type === "abort") abort.abort(new DOMException(message.reason, "AbortError"));
});

function tell(message: FromTask): void {
  port.postMessage(message);
}

async function serve(request: TaskRequest): Promise<void> {
  hasServed = true;
  abort = new AbortController();
  const onWait = (): void => attachments().attachThread(request.fabric).pulse.announce();
  try {
    const { outputs } = await runRequest(request, () => load(request), farPorts(onWait));
    tell({ type: "done", outputs });
  } catch (thrown) {
    tell({ type: "failed", error: toWire(thrown) });
  }
}

async function load({ module, form }: TaskRequest): Promise<TaskFunction> {
  const { default: body } = (await import(module)) as { default?: unknown };
  if (typeof body === "function") {
    if (form === "chunk") return chunkTask(body as ChunkWork);
    if (form === "job")
      return jobTask(body as JobModuleBody<readonly unknown[], unknown>, jobCodec);
    return body as TaskFunction;
  }
  throw new FabricError(
    "INVALID_ARGUMENT",
    `Cannot run ${module}: expected a function as its default export`,
    { module },
  );
}

function farPorts(onWait: () => void): FarPorts {
  let toldAtMs = -Infinity;
  return {
    attachments: attachments(),
    signal: abort.signal,
    codecs: taskCodecs,
    started: (thread) => tell({ type: "started", thread }),
    progress(fraction) {
      const nowMs = performance.now();
      if (nowMs - toldAtMs < toldEveryMs) return;
      toldAtMs = nowMs;
      tell({ type: "progress", fraction });
    },
    log: (message) => tell({ type: "log", message }),
    acquire(output, bytes) {
      const before = Atomics.load(answers, 0);
      tell({ type: "acquire", output, bytes });
      // The owner answers at its next loop turn, or when there is room, and ends this thread when it gives the attempt
      // up. Waiting for it is not this task's silence; and room may come of what only waits for this thread to announce.
      while (Atomics.wait(answers, 0, before, stampedEveryMs) === "timed-out") onWait();
      for (;;) {
        const answer = receiveMessageOnPort(port)?.message as ToTask | undefined;
        if (answer === undefined) throw new InvariantError("an answer comes before its signal");
        if (answer.type === "granted") return answer.allocation;
        if (answer.type === "refused") throw fromWire(answer.error);
        if (answer.type === "abort") abort.abort(new DOMException(answer.reason, "AbortError"));
      }
    },
  };
}

/** Imports what tasks to come will need, until the first one comes. A module that fails does so again for its own task. */
async function importAhead(): Promise<void> {
  for (const module of modules) {
    if (hasServed) return;
    await import(module).catch(() => {});
  }
}

// After a turn in which the port has given the request that may have been sent already.
setImmediate(() => void importAhead());
