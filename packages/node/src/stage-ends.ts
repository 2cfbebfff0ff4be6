/** The ends of the edges between stages' threads, on whichever thread they are. */
import { describe, FabricError, isFabricError, type MemLease } from "@selvage/fabric";
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
import { parcelCodec, type Parcel, type RingShape } from "./stage-messages.ts";

/** How often an end looks around: how soon an acknowledgement gets from one stage to the one before. In milliseconds. */
const tickMs = 4;

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
  { capacity, stride }: RingShape,
  from: number,
  onEvent: HearEdge,
): Promise<RelocatableQueueEdge<Parcel>> {
  for (let tries = 1; ; tries++) {
    try {
      const lease = await acquire(FabricQueue.bytesFor(capacity, stride));
      const queue = new FabricQueue<Parcel>(lease, capacity, stride, parcelCodec);
      const locator = RelocatableQueueEdge.locatorOf(queue);
      await writer.publish(locator);
      return new RelocatableQueueEdge(queue, locator, writer, {
        from,
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
  signal?: AbortSignal,
): Promise<RelocatableQueueEdge<Parcel> | number> {
  for (;;) {
    try {
      return await RelocatableQueueEdge.attach(fabric, reader, {
        codec: parcelCodec,
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

/** Pushes, and waits for room. @throws FabricError as `RelocatableQueueEdge.send`; the signal's reason. */
export async function put(
  edge: RelocatableQueueEdge<Parcel>,
  parcel: Parcel,
  signal?: AbortSignal,
): Promise<void> {
  if (!edge.push(parcel)) await edge.send(parcel, signal === undefined ? {} : { signal });
}

/** Whether it is the item that an edge does not take, and not the edge that is over. */
export function isOfItem(error: unknown): boolean {
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
