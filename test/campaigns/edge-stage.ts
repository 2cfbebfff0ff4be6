/** What the episodes of the edge campaign share: a fabric, a record, the ends of one edge, and what is done to its rings. */
import { FabricQueue } from "@selvage/collections";
import {
  isFabricError,
  regionOf,
  type BlockLease,
  type Fabric,
  type MemLease,
  type RecordBlocks,
} from "@selvage/fabric";
import { HandoffReader, HandoffWriter } from "@selvage/fence";
import { RelocatableQueueEdge, type EdgeEvent, type EdgeOptions } from "@selvage/pipeline";
import { sometimes, type RandomStream, type SimNode } from "@selvage/sim";
import { weathered, type BlockWeather } from "./edge-blocks.ts";

const stride = 8;
/** How often the ends of these edges look after themselves, in milliseconds. */
export const EDGE_STAGE_TICK_MS = 60;

/** One edge on one node. */
export class EdgeStage {
  readonly node: SimNode;
  readonly fabric: Fabric;
  readonly random: RandomStream;
  readonly weather: BlockWeather = { slowIn1000: 0, failIn1000: 0 };
  readonly capacity: number;
  readonly isRecords: boolean;
  readonly leaseMs: number;
  readonly #kept: BlockLease;
  readonly #blocks: RecordBlocks;

  private constructor(node: SimNode, fabric: Fabric, kept: BlockLease) {
    this.node = node;
    this.fabric = fabric;
    this.random = node.random;
    this.#kept = kept;
    this.#blocks = weathered(node, kept, this.weather);
    this.capacity = this.random.spread(1, 32);
    this.isRecords = this.random.chance(1, 4);
    this.leaseMs = this.random.spread(100, 4_000);
  }

  static async open(node: SimNode, fabric: Fabric): Promise<EdgeStage> {
    const blocks = fabric.block().minBlocks(HandoffWriter.BLOCKS).leaseMs(3_600_000);
    return new EdgeStage(node, fabric, await blocks.acquire());
  }

  close(): void {
    for (const lease of this.rings) lease.release();
    this.#kept.release();
  }

  /** Leases of rings that stand. */
  get rings(): MemLease[] {
    return this.fabric.leases().filter((lease) => lease.kind === "mem");
  }

  value(number: number): Uint8Array {
    const bytes = new Uint8Array(4 + (number % (stride - 3)));
    new DataView(bytes.buffer).setUint32(0, number);
    return bytes;
  }

  numberOf(bytes: Uint8Array): number {
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  }

  /** A ring, published, and a producer's end there. */
  async openProducer(options: EdgeOptions = {}): Promise<RelocatableQueueEdge> {
    const { capacity, isRecords: records, leaseMs } = this;
    const bytes = FabricQueue.bytesFor(capacity, stride, { records });
    const lease = this.fabric.mem().minBytes(bytes).leaseMs(leaseMs).acquire();
    const queue = new FabricQueue(lease, capacity, stride, undefined, { records });
    const locator = RelocatableQueueEdge.locatorOf(queue);
    const writer = await HandoffWriter.open(this.#blocks, "stage");
    await writer.publish(locator);
    return new RelocatableQueueEdge(queue, locator, writer, this.#given(options));
  }

  /** A producer's end at the ring that was published last. @throws FabricError the lease's: it is over. */
  async takeOver(options: EdgeOptions = {}): Promise<RelocatableQueueEdge> {
    const state = await new HandoffReader(this.#kept).poll();
    if (state?.locator.kind !== "queue") throw new Error("no ring was published");
    const writer = await HandoffWriter.open(this.#blocks, "stage");
    const queue = FabricQueue.attach(this.fabric.leaseAt(state.locator));
    return new RelocatableQueueEdge(queue, state.locator, writer, this.#given(options));
  }

  async openConsumer(options: EdgeOptions = {}): Promise<RelocatableQueueEdge> {
    const reader = new HandoffReader(this.#kept);
    return RelocatableQueueEdge.attach(this.fabric, reader, {
      ...this.#given(options),
      timeoutMs: Infinity,
    });
  }

  /** Something happens to the ring. */
  disturb(producer: RelocatableQueueEdge, consumer: RelocatableQueueEdge): void {
    const ring = this.rings.at(-1);
    const draw = this.random.below(6);
    if (draw === 0) void tried(producer.relocate());
    else if (draw === 1) void tried(consumer.relocate());
    else if (draw === 2) sometimes("a ring was released", ring?.release() === true);
    else if (draw === 3) {
      sometimes("a ring was revoked", ring?.revoke() === true);
      void tried(producer.relocate());
    } else if (draw === 4 && ring !== undefined && producer.stats().accepted > 0) {
      // Before that, the producer cannot tell whether another has pushed: it would tell something unknown as lost.
      sometimes("a ring was damaged");
      const { memory, offset } = regionOf(ring);
      memory.plain[offset / 4 + this.random.below(256)] = this.random.pick([0, 1, -1, 7_777]);
    } else if (draw === 5) {
      this.weather.failIn1000 = this.random.pick([0, 0, 300]);
      this.weather.slowIn1000 = this.random.pick([0, 500]);
      void this.node.sleep(this.random.spread(100, 3_000)).then(() => this.clearSkies());
    }
  }

  clearSkies(): void {
    this.weather.failIn1000 = 0;
    this.weather.slowIn1000 = 0;
  }

  #given(options: EdgeOptions): EdgeOptions {
    return {
      leaseMs: this.leaseMs,
      tickMs: EDGE_STAGE_TICK_MS,
      ...options,
      onEvent: (event) => {
        noteEvent(event);
        options.onEvent?.(event);
      },
    };
  }
}

function noteEvent(event: EdgeEvent): void {
  if (event.type === "relocated") {
    sometimes(`an edge moved: ${event.cause}`);
    sometimes("items were put into a new ring again", event.replayed > 0);
  }
  sometimes("a move was tried again", event.type === "retrying");
  sometimes("an edge gave up", event.type === "failed");
  sometimes("items that came again were dropped", event.type === "dropped");
  sometimes("items were told as lost", event.type === "lost");
}

/** What an operation of an edge may end in while its ring is being lost. True when it ended well. */
export async function tried(run: Promise<unknown>): Promise<boolean> {
  try {
    await run;
    return true;
  } catch (error) {
    if (!isFabricError(error)) throw error;
    return false;
  }
}

/** Pushes or pops; an edge that has failed, or was revoked, is asked to try again. */
export function attempt<T>(edge: RelocatableQueueEdge, run: () => T, otherwise: T): T {
  try {
    return run();
  } catch (error) {
    if (!isFabricError(error)) throw error;
    void tried(edge.relocate());
    return otherwise;
  }
}
