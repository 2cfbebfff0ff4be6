/** The shortest way to an edge: its first ring, published. */
import { FabricQueue } from "@selvage/collections";
import { rawCodec, type Codec, type Fabric } from "@selvage/fabric";
import type { EdgeOptions } from "./edge-events.ts";
import { isGone, type EdgeReader, type EdgeWriter } from "./edge-home.ts";
import { acquireOf, resolveOf } from "./edge-options.ts";
import { RelocatableQueueEdge } from "./relocatable-queue-edge.ts";

/** What an edge is made of. */
export interface OpenEdgeOptions<T> extends EdgeOptions {
  /** How many values of `stride` bytes each ring holds, at least. */
  readonly capacity: number;
  /** The longest value, in bytes. */
  readonly stride: number;
  readonly codec?: Codec<T>;
  /** Values take what they need, up to `stride`, instead of a slot each. */
  readonly records?: boolean;
  /**
   * A reader of the same record, for a producer that takes an edge over: the ring that it leads to is sealed first, so that what
   * its producer pushes from then on is refused. `from` says with which item this one goes on.
   */
  readonly takeOver?: EdgeReader;
}

/**
 * The producer's end of a new edge, or of one that it takes over: acquires memory, makes the ring, and publishes it.
 * @throws FabricError `INVALID_ARGUMENT`, `CAPACITY_EXCEEDED`, `STALE_EPOCH` (another writer has the record), what publishing throws: then
 * the memory is given back.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fabric, HandoffReader, HandoffWriter, openEdge, RelocatableQueueEdge } from "selvage";
 *
 * await using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 16 });
 * const blocks = await fabric.block().minBlocks(HandoffWriter.BLOCKS).acquire();
 * using into = await openEdge(fabric, new HandoffWriter(blocks, "parse"), { capacity: 64, stride: 256 });
 * using out = await RelocatableQueueEdge.attach(fabric, new HandoffReader(blocks));
 * into.push(Uint8Array.of(7));
 * into.flush();
 * assert.deepEqual(out.pop(), Uint8Array.of(7));
 * ```
 */
export async function openEdge<T = Uint8Array>(
  fabric: Fabric,
  writer: EdgeWriter,
  options: OpenEdgeOptions<T>,
): Promise<RelocatableQueueEdge<T>> {
  const { capacity, stride, codec = rawCodec as unknown as Codec<T>, records = false } = options;
  const shape = { records };
  if (options.takeOver !== undefined) await seal(fabric, options.takeOver, options);
  const lease = await acquireOf(fabric, options)(FabricQueue.bytesFor(capacity, stride, shape));
  try {
    const queue = new FabricQueue<T>(lease, capacity, stride, codec, shape);
    const locator = RelocatableQueueEdge.locatorOf(queue);
    // Before the ring is found by anybody: it says with which item it begins.
    const edge = new RelocatableQueueEdge<T>(queue, locator, writer, options);
    try {
      await writer.publish(locator);
      return edge;
    } catch (error) {
      edge[Symbol.dispose]();
      throw error;
    }
  } catch (error) {
    lease.release();
    throw error;
  }
}

async function seal(fabric: Fabric, reader: EdgeReader, options: EdgeOptions): Promise<void> {
  const state = await reader.poll();
  if (state?.locator.kind !== "queue") return;
  try {
    FabricQueue.attach(await resolveOf(fabric, options)(state.locator)).close();
  } catch (error) {
    // It is over by itself.
    if (!isGone(error)) throw error;
  }
}
