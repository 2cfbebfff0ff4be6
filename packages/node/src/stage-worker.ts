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
  Bells,
  itemError,
  openConsumer,
  openProducer,
  sendFrame,
  Turns,
  type HearEdge,
} from "./stage-ends.ts";
import { numberAt, type Frame } from "./stage-frames.ts";
import {
  CALLS,
  LEAVINGS,
  type EdgeSide,
  type FromStage,
  type StageWorkerData,
} from "./stage-messages.ts";
import type { ThreadStageFunction } from "./stage-options.ts";

const task = workerData as StageWorkerData;
const { stage, restarts, counts } = task;

/** How often it looks around when it is done, in milliseconds. */
const idleMs = 20;

/** Items between two looks at the clock. */
const lookEvery = 8;

// It stays until its owner ends it: nothing else that it waits for keeps a thread.
parentPort?.on("message", () => {});

type Stage = ThreadStageFunction<unknown>;
type Edge = RelocatableQueueEdge<Frame>;

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

// All whose results have been acknowledged, and no more. Whether that is all there are.
function passOn(input: Edge, output: Edge): boolean {
  const { acknowledgedTo: to } = output;
  if (to > 0 && to <= input.sequence + 1) input.acknowledge(to - 1);
  return to === output.nextSequence;
}

// What the module makes of a frame's items, in a frame of the same numbers.
async function make(body: Stage, frame: Frame, turns: Turns): Promise<Frame> {
  const { first, count } = frame;
  const values: unknown[] = [];
  const kept: number[] = [];
  for (let index = 0; index < frame.values.length; index++) {
    const sequence = numberAt(frame, index);
    try {
      counts[CALLS] = (counts[CALLS] as number) + 1;
      const made = body(frame.values[index], { stage, sequence, restarts });
      const result = isPromise(made) ? await made : made;
      if (result === undefined) counts[LEAVINGS] = (counts[LEAVINGS] as number) + 1;
      else {
        values.push(result);
        kept.push(sequence - first);
      }
    } catch (thrown) {
      const failure = toWire(itemError(stage, sequence, thrown));
      return { first, count: sequence - first, values, offsets: offsetsOf(kept), failure };
    }
    if (sequence % lookEvery === 0 && turns.isDue) await turns.take();
  }
  const offsets = values.length === count ? undefined : offsetsOf(kept);
  return { first, count, values, offsets, failure: frame.failure };
}

function offsetsOf(kept: readonly number[]): Uint8Array {
  return Uint8Array.from(kept);
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as Partial<PromiseLike<unknown>> | null | undefined)?.then === "function";
}

// Until its owner ends the thread: what comes of its results is passed on to the stage before.
async function stay(input: Edge, output: Edge): Promise<never> {
  for (;;) {
    // Where nothing is left, nothing rings.
    if (passOn(input, output)) await sleep(idleMs);
    else await output.acknowledgedSoon();
  }
}

async function closed(input: Edge | undefined, output: Edge): Promise<never> {
  if (input === undefined) return output.close().then(() => new Promise<never>(() => {}));
  const [never] = await Promise.all([stay(input, output), output.close()]);
  return never;
}

async function serve(body: Stage, before: EdgePort, after: EdgePort): Promise<never> {
  assert(before.reader !== undefined, "a stage's input has a reader");
  const { reader, leaseAt } = before;
  const input = await openConsumer(before, reader, leaseAt, hears("consumer"), task.shape.stride);
  if (typeof input === "number") return closed(undefined, await openOutput(after, input));
  const turns = new Turns();
  const bells = new Bells();
  let output: Edge | undefined;
  let next = 0;
  for (;;) {
    if (output !== undefined) passOn(input, output);
    const frame = input.pop();
    if (frame === undefined) {
      if (input.isOver) break;
      await soon(bells, input, output);
      continue;
    }
    const { sequence } = input;
    if (output === undefined) {
      next = sequence;
      output = await openOutput(after, next);
    }
    // What is made of a frame has its number, so none may be left out.
    assert(sequence === next++, "an edge leaves out no number", sequence);
    const made = await make(body, frame, turns);
    if (!(await sendFrame(output, stage, made))) return stay(input, output);
    if (turns.isDue) await turns.take();
  }
  return closed(input, output ?? (await openOutput(after, input.sequence + 1)));
}

// There may be a frame, or something to pass on.
function soon(bells: Bells, input: Edge, output: Edge | undefined): Promise<void> {
  const item = (): Promise<void> => input.itemSoon();
  return bells.any(
    output === undefined ? { item } : { item, dealt: () => output.acknowledgedSoon() },
  );
}

try {
  const body = await load();
  tell({ type: "ready" });
  await serve(body, edgePort(task.input), edgePort(task.output));
} catch (error) {
  tell({ type: "failed", error: toWire(error) });
}
