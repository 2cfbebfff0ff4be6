/** Rings of every kind under the explorer: made, joined by its threads, and looked over at the end. */
import { FabricQueue, type QueueOptions, type QueueTicket } from "@selvage/collections";
import {
  assert,
  bufferMemoryProvider,
  regionOf,
  type MemoryProvider,
  type MemTicket,
} from "@selvage/fabric";
import type { Host } from "./execution.ts";
import { attachExplored, openExplored } from "./explored-fabric.ts";

/** How a ring is shared, and what its slots are. */
export type RingKind = "slots" | "records" | "many";

/** A ring to explore. */
export interface RingPlan {
  readonly kind: RingKind;
  readonly capacity: number;
  /** Longest value, in bytes. */
  readonly stride: number;
  /** How many values have passed when the threads begin; not for records. */
  readonly start?: number;
}

/** Words of a ring's header, as `docs/memory-map.md` has them. */
const [TAIL, HEAD, CLAIM, SLOTS] = [32, 64, 98, 256];
const lapMask = 0x1fff;
const lapShift = 19;
const [threadsAt, threadWords] = [64, 16];
/** More threads than any exploration has. */
const threadsMost = 17;

/** Makes a ring. Claims are given up as soon as they are seen twice. */
export function openRing(memory: MemoryProvider, plan: RingPlan): QueueTicket {
  const { kind, capacity, stride, start = 0 } = plan;
  const options: QueueOptions = { many: kind === "many", records: kind === "records" };
  const bytes = FabricQueue.bytesFor(capacity, stride, options);
  // In guard mode a claim is filled by the queue, when it is committed, so the explorer sees it.
  const fabric = openExplored(memory, { memoryBytes: bytes + 64, guard: true });
  const lease = fabric.mem().minBytes(bytes).leaseMs(1e9).acquire();
  const queue = new FabricQueue<Uint8Array>(lease, capacity, stride, undefined, options);
  const { offset, memory: arena } = regionOf(lease);
  const base = offset / 4;
  const units = 1 + Math.ceil(stride / 8);
  const position = kind === "many" ? start : start * units;
  for (const word of [TAIL, HEAD]) arena.words.store(base + word, position);
  const laps = kind === "many" ? capacity : 0;
  for (let slot = 0; slot < laps; slot++) {
    const at = (start + slot) % (lastPosition(capacity) + 1);
    const lap = Math.floor(at / capacity) & lapMask;
    arena.words.store(base + SLOTS + (at % capacity) * units * 2, lap << lapShift);
  }
  return queue.ticket();
}

/** The last position of a ring before it starts over, counted in values. */
export function lastPosition(capacity: number, kind: RingKind = "many"): number {
  if (kind !== "many") return 2 * capacity - 1;
  const laps = Math.floor(2 ** 31 / capacity);
  return capacity * (laps > lapMask ? laps - (laps % (lapMask + 1)) : laps) - 1;
}

/** A thread's own handle. */
export function joinRing(host: Host, ticket: QueueTicket, unblockAfterMs = 0): FabricQueue {
  const attachMem = (lease: QueueTicket["lease"]) => attachExplored(host, lease);
  return FabricQueue.attach(ticket, undefined, { attachMem, unblockAfterMs });
}

/** Tells the fabric that a thread has exited, which attached as number `thread`; by default that all have. */
export function buryThreads(host: Host, lease: MemTicket, thread?: number): void {
  const { control, fabric } = lease;
  if (control === undefined) return;
  const { words } = host.memory.attach(control, fabric.slots);
  const [first, last] = thread === undefined ? [1, threadsMost] : [thread + 1, thread + 1];
  for (let entry = first; entry <= last; entry++) words.store(threadsAt + entry * threadWords, 0);
}

/** A queue of the judge's: what is left in the ring, and that it is whole. */
export function successorOf(host: Host, ticket: QueueTicket): FabricQueue {
  buryThreads(host, ticket.lease);
  return joinRing(host, ticket);
}

/** Whether a claim is open in the ring; not for many. */
export function claimLeft(host: Host, { lease }: QueueTicket): boolean {
  const { arena, arenaBytes, offset } = lease;
  assert(arena !== undefined, "the fabric is shared");
  return host.memory.attach(arena, arenaBytes).words.load(offset / 4 + CLAIM) !== 0;
}

/** Pops until nothing comes, giving up whatever is stuck. */
export function drain(queue: FabricQueue): number[] {
  const got: number[] = [];
  for (let idle = 0; idle < 6;) {
    const value = queue.pop();
    if (value === undefined) idle++;
    else got.push(idOf(value));
  }
  return got;
}

/** `length` bytes that say which value they are. */
export function valueOf(id: number, length: number): Uint8Array {
  return new Uint8Array(length).fill(id);
}

/** Which value bytes are; -1 for bytes that are none, or of several. */
export function idOf(bytes: Uint8Array): number {
  const [id = -1] = bytes;
  return bytes.every((byte) => byte === id) ? id : -1;
}

/**
 * What a thread has pushed or popped and not published stands on a list of its real thread, so of all explored ones: this
 * clears it, for a ring that is found empty settles the whole list, and what is on it belongs to runs that are over.
 */
export function clearUnsettled(): void {
  scratch ??= newScratch();
  scratch.pop();
}
let scratch: FabricQueue | undefined;

function newScratch(): FabricQueue {
  const bytes = FabricQueue.bytesFor(1, 8);
  const fabric = openExplored(bufferMemoryProvider, { memoryBytes: bytes + 64, shared: false });
  const lease = fabric.mem().minBytes(bytes).leaseMs(1e9).acquire();
  return new FabricQueue(lease, 1, 8);
}
