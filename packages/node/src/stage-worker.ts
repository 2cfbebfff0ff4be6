/**
 * What a stage's thread runs: takes items from the edge before it, calls the stage's module, and sends the results on under
 * the items' numbers. An item is acknowledged once its result is: so a thread that takes over makes again what may be lost.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { assert, FabricError, toWire } from "@selvage/fabric";
import type { EdgeEvent, RelocatableQueueEdge } from "@selvage/pipeline";
import { edgePort, type EdgePort } from "./edge-port.ts";
import {
  isOfItem,
  itemError,
  openConsumer,
  openProducer,
  put,
  Turns,
  type HearEdge,
} from "./stage-ends.ts";
import {
  CALLS,
  FAILURE,
  ITEM,
  LEAVINGS,
  LEFT_OUT,
  type EdgeSide,
  type FromStage,
  type Parcel,
  type StageWorkerData,
} from "./stage-messages.ts";
import type { ThreadStageContext, ThreadStageFunction } from "./stage-options.ts";

const task = workerData as StageWorkerData;
const { stage, restarts, counts } = task;

/** How long it waits for an item before it looks what has been acknowledged, in milliseconds. */
const idleMs = 5;

/** Items between two looks at what has been acknowledged. */
const lookEvery = 64;

// It stays until its owner ends it: nothing else that it waits for keeps a thread.
parentPort?.on("message", () => {});

type Stage = ThreadStageFunction<unknown>;
type Edge = RelocatableQueueEdge<Parcel>;

function tell(message: FromStage): void {
  parentPort?.postMessage(message);
}

function hears(side: EdgeSide): HearEdge {
  return (event) => tell({ type: "edge", side, event: plain(event) });
}

function plain(event: EdgeEvent): EdgeEvent {
  return "error" in event ? { ...event, error: toWire(event.error) } : event;
}

async function load(): Promise<Stage> {
  const { default: body } = (await import(task.module)) as { default?: unknown };
  if (typeof body === "function") return body as Stage;
  throw new FabricError(
    "INVALID_ARGUMENT",
    `Cannot run stage "${stage}": ${task.module} has no function as its default export`,
    { stage, module: task.module },
  );
}

async function openOutput(port: EdgePort, from: number): Promise<Edge> {
  const { writer, acquire, leaseAt: resolve, renewals } = port;
  assert(writer !== undefined, "a stage's output has a writer");
  return openProducer({ writer, acquire, resolve, renewals }, task.shape, from, hears("producer"));
}

// All whose results have been acknowledged, and no more.
function passOn(input: Edge, output: Edge): void {
  const upTo = output.nextSequence - output.stats().unacknowledged - 1;
  if (upTo >= 0 && upTo <= input.sequence) input.acknowledge(upTo);
}

async function make(body: Stage, value: unknown, sequence: number): Promise<Parcel> {
  const context: ThreadStageContext = { stage, sequence, restarts };
  try {
    Atomics.add(counts, CALLS, 1n);
    const made = body(value, context);
    const result = isPromise(made) ? await made : made;
    if (result !== undefined) return [ITEM, result];
    Atomics.add(counts, LEAVINGS, 1n);
    return [LEFT_OUT];
  } catch (thrown) {
    return [FAILURE, toWire(itemError(stage, sequence, thrown))];
  }
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as Partial<PromiseLike<unknown>> | undefined)?.then === "function";
}

// Sends a result on; true unless it is a failure, or is one now because the edge does not take it.
async function send(output: Edge, parcel: Parcel, sequence: number): Promise<boolean> {
  try {
    await put(output, parcel);
    return parcel[0] !== FAILURE;
  } catch (error) {
    if (!isOfItem(error)) throw error;
    // A failure that does not fit goes without what caused it.
    const failure =
      parcel[0] === FAILURE
        ? { ...parcel[1], message: `Stage "${stage}" failed`, details: { stage, sequence } }
        : toWire(itemError(stage, sequence, error));
    await put(output, [FAILURE, { ...failure, cause: null, stack: null }]);
    return false;
  }
}

// Until its owner ends the thread: what comes of its results is passed on to the stage before.
async function stay(input: Edge | undefined, output: Edge): Promise<never> {
  for (;;) {
    if (input !== undefined) passOn(input, output);
    await sleep(1);
  }
}

async function closed(input: Edge | undefined, output: Edge): Promise<never> {
  const [never] = await Promise.all([stay(input, output), output.close()]);
  return never;
}

async function serve(body: Stage, before: EdgePort, after: EdgePort): Promise<never> {
  assert(before.reader !== undefined, "a stage's input has a reader");
  const input = await openConsumer(before, before.reader, before.leaseAt, hears("consumer"));
  if (typeof input === "number") return closed(undefined, await openOutput(after, input));
  const turns = new Turns();
  let output: Edge | undefined;
  let next = 0;
  for (;;) {
    const parcel = input.pop() ?? (await input.popAsync({ timeoutMs: idleMs }));
    if (parcel === undefined) {
      if (input.isOver) break;
      if (output !== undefined) passOn(input, output);
      continue;
    }
    const { sequence } = input;
    if (output === undefined) {
      next = sequence;
      output = await openOutput(after, next);
    }
    // Results have their items' numbers, so none may be left out.
    assert(sequence === next++, "an edge leaves out no number", sequence);
    const made = parcel[0] === ITEM ? await make(body, parcel[1], sequence) : parcel;
    if (!(await send(output, made, sequence))) return stay(input, output);
    if (next % lookEvery === 0) passOn(input, output);
    if (turns.isDue) await turns.take();
  }
  return closed(input, output ?? (await openOutput(after, input.sequence + 1)));
}

try {
  const body = await load();
  tell({ type: "ready" });
  await serve(body, edgePort(task.input), edgePort(task.output));
} catch (error) {
  tell({ type: "failed", error: toWire(error) });
}
