/** A fabric, a record and the ends of an edge, whose time is what a test says. */
import { bufferMemoryProvider, regionOf, type BlockLease, type MemLease } from "@selvage/fabric";
import { HandoffWriter } from "@selvage/fence";
import { Fabric, FabricQueue, HandoffReader } from "@selvage/node";
import { RelocatableQueueEdge } from "../src/edge/relocatable-queue-edge.ts";
import type { EdgeEvent, EdgeOptions, LostItems } from "../src/edge/edge-events.ts";

const START_MS = 1_800_000_000_000;

interface Due {
  atMs: number;
  readonly everyMs: number | undefined;
  readonly callback: () => void;
}

/** Lets everything come to rest that needs no time. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** One fabric ticked by hand, and a handoff record in it. */
export class Stage {
  nowMs: number = START_MS;
  readonly fabric: Fabric;
  readonly blocks: BlockLease;
  readonly #timers: Set<Due>;

  private constructor(fabric: Fabric, blocks: BlockLease, timers: Set<Due>) {
    this.fabric = fabric;
    this.blocks = blocks;
    this.#timers = timers;
  }

  static async open(memoryBytes = 1 << 16): Promise<Stage> {
    const timers = new Set<Due>();
    let stage: Stage | undefined;
    const add = (ms: number, everyMs: number | undefined, callback: () => void): (() => void) => {
      const due = { atMs: (stage?.nowMs ?? START_MS) + ms, everyMs, callback };
      timers.add(due);
      return () => void timers.delete(due);
    };
    const fabric = Fabric.open(
      { memoryBytes, blocks: 16, tick: "manual", guard: false },
      {
        clock: { nowMs: () => START_MS },
        memory: bufferMemoryProvider,
        timer: {
          after: (ms, callback) => add(ms, undefined, callback),
          every: (ms, callback) => add(ms, ms, callback),
        },
      },
    );
    const blocks = await fabric
      .block()
      .minBlocks(HandoffWriter.BLOCKS)
      .leaseMs(1_000_000_000)
      .acquire();
    return (stage = new Stage(fabric, blocks, timers));
  }

  /** Lets time pass, timer by timer. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.nowMs + ms;
    for (;;) {
      await settle();
      let next: Due | undefined;
      for (const due of this.#timers)
        if (due.atMs <= untilMs && (next === undefined || due.atMs < next.atMs)) next = due;
      this.nowMs = Math.max(this.nowMs, next?.atMs ?? untilMs);
      this.fabric.tick(this.nowMs);
      if (next === undefined) break;
      if (next.everyMs === undefined) this.#timers.delete(next);
      else next.atMs += next.everyMs;
      next.callback();
    }
    await settle();
  }

  /** Lets time pass until a promise is settled. */
  async until<T>(promise: Promise<T>): Promise<T> {
    const outcome = { isSettled: false };
    const settled = (): void => {
      outcome.isSettled = true;
    };
    promise.then(settled, settled);
    for (let turn = 0; turn < 1_000 && !outcome.isSettled; turn++) await this.advance(10);
    if (!outcome.isSettled) throw new Error("waited in vain");
    return promise;
  }

  /** Leases of memory that stand. */
  get memLeases(): MemLease[] {
    return this.fabric.leases().filter((lease) => lease.kind === "mem");
  }
}

export interface Shape {
  readonly capacity: number;
  readonly stride: number;
  readonly records: boolean;
}

/** The ring's lease, and a writer's end of an edge there: published before it is made, as whoever reads it expects. */
export async function openWriter(
  stage: Stage,
  { capacity, stride, records }: Shape,
  options: EdgeOptions = {},
): Promise<{ edge: RelocatableQueueEdge; lease: MemLease; writer: HandoffWriter }> {
  const bytes = FabricQueue.bytesFor(capacity, stride, { records });
  const lease = stage.fabric
    .mem()
    .minBytes(bytes)
    .leaseMs(options.leaseMs ?? 1_000)
    .acquire();
  const queue = new FabricQueue(lease, capacity, stride, undefined, { records });
  const writer = await HandoffWriter.open(stage.blocks, "stage");
  const locator = RelocatableQueueEdge.locatorOf(queue);
  await writer.publish(locator);
  return { edge: new RelocatableQueueEdge(queue, locator, writer, options), lease, writer };
}

/** The writer's end of an edge whose ring stands, for a producer that takes over. */
export async function takeOver(
  stage: Stage,
  options: EdgeOptions = {},
): Promise<{ edge: RelocatableQueueEdge; writer: HandoffWriter }> {
  const state = await new HandoffReader(stage.blocks).poll();
  if (state?.locator.kind !== "queue") throw new Error("no ring was published");
  const writer = await HandoffWriter.open(stage.blocks, "stage");
  const queue = FabricQueue.attach(stage.fabric.leaseAt(state.locator));
  return { edge: new RelocatableQueueEdge(queue, state.locator, writer, options), writer };
}

export async function openReader(
  stage: Stage,
  options: EdgeOptions = {},
): Promise<RelocatableQueueEdge> {
  return RelocatableQueueEdge.attach(stage.fabric, new HandoffReader(stage.blocks), options);
}

/** Hears what is lost, in order. */
export function losses(): {
  readonly lost: LostItems[];
  readonly onEvent: (event: EdgeEvent) => void;
} {
  const lost: LostItems[] = [];
  return {
    lost,
    onEvent: (event) => {
      if (event.type === "lost") lost.push(event.items);
    },
  };
}

/** Writes to a word of a lease's memory, past all rules. */
export function scribble(lease: MemLease, word: number, value: number): void {
  const { memory, offset } = regionOf(lease);
  memory.plain[offset / 4 + word] = value;
}

/** A value that says its number, and bytes that follow from it. */
export function itemOf(number: number, stride = 16): Uint8Array {
  const bytes = new Uint8Array(4 + (number % (stride - 3))).fill(number);
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

/** Which number bytes say; throws where they are no whole value. */
export function numberOf(bytes: Uint8Array, stride = 16): number {
  const number = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  const whole = itemOf(number, stride);
  if (whole.length !== bytes.length || !whole.every((byte, at) => byte === bytes[at]))
    throw new Error(`bytes that nobody pushed: ${bytes.join(" ")}`);
  return number;
}
