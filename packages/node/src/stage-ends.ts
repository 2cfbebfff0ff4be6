/** The ends of the edges between stages' threads, on whichever thread they are. */
import {
  describe,
  FabricError,
  isFabricError,
  toWire,
  type FabricErrorWire,
  type MemLease,
} from "@selvage/fabric";
import type { QueueLocator } from "@selvage/fence";
import {
  RelocatableQueueEdge,
  type EdgeEvent,
  type EdgeFabric,
  type EdgeReader,
  type EdgeRenewals,
  type EdgeWriter,
} from "@selvage/pipeline";
import { FabricQueue } from "./fabric-queue.ts";
import { frameCodec, frameShape, numberAt, type Frame } from "./stage-frames.ts";
import type { RingShape } from "./stage-messages.ts";

/** How often an end looks around: how soon an acknowledgement gets from one stage to the one before. In milliseconds. */
const tickMs = 4;

const records = { records: true };

/** How long a stage works without a turn of the event loop, in milliseconds: edges want one to move. */
const turnMs = 5;

/** How often a ring whose lease ends while it is made is made anew. */
const triesMax = 100;

/** What a producer's end is made of. */
export interface ProducerPlace {
  readonly writer: EdgeWriter;
  readonly acquire: (bytes: number) => MemLease | Promise<MemLease>;
  readonly resolve: (locator: QueueLocator) => MemLease | Promise<MemLease>;
  readonly renewals: EdgeRenewals | undefined;
}

/** What it tells. */
export type HearEdge = (event: EdgeEvent) => void;

/**
 * A producer's end whose next item is number `from`, at a ring of its own: one that takes over makes its items again, under
 * their numbers. @throws FabricError as `place.acquire`, `place.writer.publish`.
 */
export async function openProducer(
  { writer, acquire, resolve, renewals }: ProducerPlace,
  shape: RingShape,
  from: number,
  onEvent: HearEdge,
): Promise<RelocatableQueueEdge<Frame>> {
  const { capacity, stride, window } = frameShape(shape);
  const codec = frameCodec(shape.stride);
  for (let tries = 1; ; tries++) {
    try {
      const lease = await acquire(FabricQueue.bytesFor(capacity, stride, records));
      const queue = new FabricQueue<Frame>(lease, capacity, stride, codec, records);
      const locator = RelocatableQueueEdge.locatorOf(queue);
      await writer.publish(locator);
      return new RelocatableQueueEdge(queue, locator, writer, {
        from,
        window,
        acquire,
        resolve,
        tickMs,
        onEvent,
        ...(renewals === undefined ? {} : { renewals }),
      });
    } catch (error) {
      if (!hasLapsed(error) || tries >= triesMax) throw error;
    }
  }
}

/**
 * A consumer's end, which begins with the first item that is not acknowledged; the number after the last one where the
 * stream is over, and all of it dealt with. Waits as long as it takes. @throws FabricError as `RelocatableQueueEdge.attach`; the signal's reason.
 */
export async function openConsumer(
  fabric: EdgeFabric,
  reader: EdgeReader,
  resolve: (locator: QueueLocator) => MemLease | Promise<MemLease>,
  onEvent: HearEdge,
  stride: number,
  signal?: AbortSignal,
): Promise<RelocatableQueueEdge<Frame> | number> {
  const codec = frameCodec(stride);
  for (;;) {
    try {
      return await RelocatableQueueEdge.attach(fabric, reader, {
        codec,
        acknowledge: "manual",
        timeoutMs: Infinity,
        resolve,
        tickMs,
        onEvent,
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (error) {
      const endedAt = isFabricError(error) ? error.details["endedAt"] : undefined;
      if (typeof endedAt === "number") return endedAt;
      // The ring ended as it was found: another follows.
      if (!hasLapsed(error)) throw error;
    }
  }
}

/** Sends a frame, waiting for room. @throws FabricError as `RelocatableQueueEdge.send`; the signal's reason. */
async function put(
  edge: RelocatableQueueEdge<Frame>,
  frame: Frame,
  signal?: AbortSignal,
): Promise<void> {
  if (!edge.push(frame)) await edge.send(frame, signal === undefined ? {} : { signal });
}

/**
 * Sends a frame of `stage`'s. True unless there is a failure in it, or is one now because the edge does not take an item: then what is
 * before that one goes, and nothing may follow. @throws FabricError as `RelocatableQueueEdge.send`; the signal's reason.
 */
export async function sendFrame(
  edge: RelocatableQueueEdge<Frame>,
  stage: string,
  frame: Frame,
  signal?: AbortSignal,
): Promise<boolean> {
  try {
    await put(edge, frame, signal);
    return frame.failure === undefined;
  } catch (error) {
    if (!isOfItem(error)) throw error;
    await put(edge, cutOff(stage, frame, error), signal);
    return false;
  }
}

// What can be sent instead of a frame that cannot.
function cutOff(stage: string, frame: Frame, error: unknown): Frame {
  const index = isFabricError(error) ? error.details["index"] : undefined;
  const { failure, values, offsets } = frame;
  // Items that fit, and a failure that does not: it goes without what caused it.
  if (typeof index !== "number") return { ...frame, failure: failure && shorter(failure) };
  const sequence = numberAt(frame, index);
  return {
    first: frame.first,
    count: sequence - frame.first,
    values: values.slice(0, index),
    offsets: offsets?.slice(0, index),
    failure: shorter(toWire(itemError(stage, sequence, error))),
  };
}

/** A failure for which there is room in any frame. */
function shorter(failure: FabricErrorWire): FabricErrorWire {
  const { message, details } = failure;
  const { stage = null, sequence = null } = details;
  return {
    ...failure,
    message: message.slice(0, 200),
    details: { stage, sequence },
    cause: null,
    stack: null,
  };
}

// Whether it is an item that an edge does not take, and not the edge that is over.
function isOfItem(error: unknown): boolean {
  return isFabricError(error) && (error.code === "CAPACITY_EXCEEDED" || error.code === "ENCODE");
}

/** Names the stage and the item at which something was thrown; what was thrown is the cause. Keeps its code. */
export function itemError(
  stage: string,
  sequence: number,
  thrown: unknown,
  code: FabricError["code"] = "INVALID_ARGUMENT",
): FabricError {
  const known = isFabricError(thrown) ? thrown : undefined;
  const what = thrown instanceof Error ? thrown.message : describe(thrown);
  return new FabricError(
    known?.code ?? code,
    `Stage "${stage}" failed at item ${sequence}: ${what}`,
    { ...known?.details, stage, sequence },
    { cause: thrown },
  );
}

/** Waits for whichever of an end's bells rings first; one that has not rung is waited for the next time. */
export class Bells {
  readonly #waits = new Map<string, Promise<void>>();

  /** Resolves when one of the promises does, or did before: each name's is asked for where none is under way. */
  async any(bells: Readonly<Record<string, () => Promise<void>>>): Promise<void> {
    for (const [name, wait] of Object.entries(bells)) {
      if (this.#waits.has(name)) continue;
      this.#waits.set(
        name,
        wait().finally(() => this.#waits.delete(name)),
      );
    }
    await Promise.race(this.#waits.values());
  }
}

/** Gives the event loop a turn now and then. */
export class Turns {
  #lastMs = performance.now();

  /** Whether it is time for one. */
  get isDue(): boolean {
    return performance.now() - this.#lastMs >= turnMs;
  }

  /** A turn. */
  async take(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#lastMs = performance.now();
  }
}

function hasLapsed(error: unknown): boolean {
  return isFabricError(error) && error.code === "LEASE_EXPIRED";
}
