/** Hash maps between threads that take turns, held to a plain map at every step; and what a damaged one, or a queue, does. */
import { FabricHashMap, FabricQueue, numberCodec, stringCodec } from "@selvage/collections";
import {
  isFabricError,
  jsonCodec,
  type Codec,
  type FabricErrorCode,
  type MemLease,
} from "@selvage/fabric";
import { sometimes, Violation, type RandomStream } from "@selvage/sim";
import type { Stage } from "./queue-book.ts";
import { a3, m3, m4, r5, s1 } from "./collections-held.ts";

type Table = FabricHashMap<string, unknown>;

const stepsMax = 60;

/** Expects an error of a code. */
export function refused(code: FabricErrorCode, what: string, run: () => unknown): void {
  try {
    run();
  } catch (thrown) {
    if (isFabricError(thrown) && thrown.code === code) return;
    throw thrown;
  }
  throw new Violation(s1, `${what} passed, not ${code}`);
}

/** As {@link refused}, of what is asynchronous. */
export async function rejected(
  code: FabricErrorCode,
  what: string,
  run: () => Promise<unknown>,
  property: string = s1,
): Promise<void> {
  try {
    await run();
  } catch (thrown) {
    if (isFabricError(thrown) && thrown.code === code) return;
    throw thrown;
  }
  throw new Violation(property, `${what} passed, not ${code}`);
}

/** One map, from its making to its lease's end. */
export async function mapEpisode(stage: Stage): Promise<void> {
  const { node, fabric, threads } = stage;
  const { random } = node;
  const value: Codec<unknown> = random.pick([jsonCodec<unknown>(), numberCodec as Codec<unknown>]);
  const codecs = { key: stringCodec, value };
  const capacity = random.spread(1, 20);
  const shape = { keyBytes: 12, valueBytes: random.pick([8, 120]), capacity };
  const ttlMs = random.chance(1, 3) ? random.spread(20, 1_500) : 10_000_000;
  const bytes = FabricHashMap.bytesFor(shape);
  const lease = fabric.mem().minBytes(bytes).leaseMs(ttlMs).acquire();
  const { capacity: _, ...rest } = shape;
  const made = new FabricHashMap<string, unknown>(lease, {
    ...codecs,
    ...(random.chance(1, 2) ? shape : rest),
  });
  const model = new Map<string, unknown>();
  try {
    const attached = (): Table =>
      FabricHashMap.attach(threads.spawn().attachMem(made.ticket()), codecs);
    const tables = [made, attached(), attached()];
    refusals(lease, made);
    for (let steps = random.between(5, stepsMax); steps > 0; steps--) {
      const nowMs = fabric.control.nowMs();
      step(random, random.pick(tables), model);
      if (nowMs >= lease.expiresAtMs)
        throw new Violation(a3, "a map was used after its lease's end");
      await node.sleep(random.spread(1, 100));
    }
    if (made.repairs !== 0) throw new Violation(m4, "a writer was thought dead");
  } catch (thrown) {
    if (!isFabricError(thrown) || thrown.code !== "LEASE_EXPIRED") throw thrown;
    if (lease.expiresAtMs > fabric.nowMs()) throw new Violation(a3, thrown.message);
    refused("LEASE_EXPIRED", "get", () => made.get("k1"));
    refused("LEASE_EXPIRED", "set", () => made.set("k1", 1));
    sometimes("a map's lease ended");
  }
  lease.release();
}

// eslint-disable-next-line complexity -- one case an operation
function step(random: RandomStream, table: Table, model: Map<string, unknown>): void {
  const number = random.below(24);
  // One, two, three and four bytes each.
  const key = `${["k", "\u00e9", "\u6f22", "\u{1f600}"][number % 4]}${number}`;
  const isNumber = table.valueBytesMax === 8;
  const value = isNumber ? random.below(1_000) : random.below(1e9);
  const draw = random.below(10);
  if (draw < 4) {
    const isSet = table.set(key, value);
    const fits = model.has(key) || model.size < table.capacity;
    same("set", isSet, fits);
    sometimes("a map was full", !isSet);
    if (isSet) model.set(key, value);
  } else if (draw < 6) same("get", table.get(key), model.get(key));
  else if (draw === 6) same("has", table.has(key), model.has(key));
  else if (draw === 7) same("delete", table.delete(key), model.delete(key));
  else if (draw === 8) look(table, key, model);
  else if (random.chance(1, 6)) {
    table.clear();
    model.clear();
  }
  same("size", table.size, model.size);
}

function look(table: Table, key: string, model: Map<string, unknown>): void {
  const target = new Uint8Array(table.valueBytesMax);
  same("readInto", table.readInto(key, target) >= 0, model.has(key));
  same("entries", sorted(table), sorted(model));
  same("keys", [...table.keys()].toSorted().join(), [...model.keys()].toSorted().join());
  same("values", [...table.values()].length, model.size);
}

function sorted(entries: Iterable<[string, unknown]>): string {
  return JSON.stringify([...entries].toSorted(([one], [two]) => (one < two ? -1 : 1)));
}

function same(what: string, found: unknown, wanted: unknown): void {
  if (found !== wanted) throw new Violation(m3, `${what}: ${String(found)}, not ${String(wanted)}`);
}

function refusals(lease: MemLease, table: Table): void {
  const other = { key: stringCodec, value: stringCodec };
  const { capacity, keyBytesMax: keyBytes, valueBytesMax: valueBytes } = table;
  refused("CONFLICT", "other codecs", () => FabricHashMap.attach(lease, other));
  const shape = { capacity, keyBytes: keyBytes + 1, valueBytes };
  refused("CAPACITY_EXCEEDED", "more than there is room for", () => {
    void new FabricHashMap(lease, { ...other, ...shape, capacity: capacity + 1_000 });
  });
  if (lease.bytes >= FabricQueue.bytesFor(1, 8))
    refused("CONFLICT", "a queue over a map", () => new FabricQueue(lease, 1, 8));
  refused("CAPACITY_EXCEEDED", "a long key", () => table.set("k".repeat(keyBytes + 1), 1));
  refused("ENCODE", "half a character", () => table.get("\ud800"));
  refused("INVALID_ARGUMENT", "no target", () => table.readInto("k", [] as never));
}

/** What the leases beside a damaged one are full of. */
const beside = 0xee;
const stride = 16;
const ringHeaderBytes = 1_024;

/**
 * R5: whatever stands in a queue's or map's bytes, an operation ends with an answer or a typed error, in bounded time; it
 * gives nothing that is longer than a value may be, and reads and writes nothing beyond its lease.
 */
export async function damageEpisode(stage: Stage): Promise<void> {
  const { node, fabric } = stage;
  const { random } = node;
  const isMap = random.chance(1, 2);
  const options = random.pick([{}, { many: true }, { records: true }]);
  const shape = { capacity: 6, keyBytes: 8, valueBytes: 8 };
  const bytes = isMap ? FabricHashMap.bytesFor(shape) : FabricQueue.bytesFor(6, stride, options);
  // The one that is damaged, between two others.
  const leases = [512, bytes, 512].map((size) =>
    fabric.mem().minBytes(size).leaseSecs(1_000_000).acquire(),
  );
  const [before, lease, after] = leases as [MemLease, MemLease, MemLease];
  for (const other of [before, after]) other.write(0, new Uint8Array(512).fill(beside));
  const codecs = { key: stringCodec, value: numberCodec };
  const queue = isMap ? undefined : new FabricQueue(lease, 6, stride, undefined, options);
  const table = isMap ? new FabricHashMap(lease, { ...shape, ...codecs }) : undefined;
  for (let at = 0; at < 4; at++) {
    queue?.push(new Uint8Array(10).fill(at));
    table?.set(`k${at}`, at);
  }
  queue?.flush();
  const uses: readonly (() => unknown)[] =
    table === undefined ? queueUses(queue as FabricQueue, lease) : mapUses(table, lease);
  for (let rounds = random.between(1, 6); rounds > 0; rounds--) {
    const word = new Uint8Array(4);
    const at = drawPlace(random, bytes);
    lease.readInto(at, word);
    // One bit, or all of a word.
    if (random.chance(1, 2)) {
      const index = random.below(4);
      word[index] = (word[index] as number) ^ (1 << random.below(8));
    } else word.fill(random.pick([0, 0x7f, 0xff]));
    lease.write(at, word);
    for (const use of uses)
      try {
        checkGiven(use());
      } catch (thrown) {
        if (thrown instanceof Violation) throw thrown;
        if (!isFabricError(thrown)) throw new Violation(r5, String(thrown));
        sometimes("damage in memory was noticed", thrown.code === "CORRUPT_RECORD");
      }
    for (const other of [before, after])
      if (other.read(0, 512).some((byte) => byte !== beside))
        throw new Violation(r5, "bytes were written beside the damaged lease");
    await node.sleep(10);
  }
  queue?.[Symbol.dispose]();
  for (const one of leases) one.release();
}

// Where the damaged word is: in the header, anywhere, or where a slot may begin, with its length.
function drawPlace(random: RandomStream, bytes: number): number {
  const draw = random.below(3);
  if (draw === 0) return 4 * random.below(Math.min(bytes, ringHeaderBytes) >> 2);
  if (draw === 1 || bytes <= ringHeaderBytes) return 4 * random.below(bytes >> 2);
  return ringHeaderBytes + 8 * random.below((bytes - ringHeaderBytes) >> 3);
}

function checkGiven(given: unknown): void {
  for (const value of Array.isArray(given) ? (given as unknown[]) : [given]) {
    if (!(value instanceof Uint8Array)) continue;
    if (value.length > stride)
      throw new Violation(r5, `${value.length} bytes, where ${stride} are the most`);
    if (value.includes(beside)) throw new Violation(r5, "bytes were read beside the damaged lease");
  }
}

function queueUses(queue: FabricQueue, lease: MemLease): readonly (() => unknown)[] {
  return [
    () => queue.pop(),
    () => queue.push(new Uint8Array(12)),
    () => {
      const target = new Uint8Array(stride);
      queue.popInto(target);
      return target;
    },
    () => queue.size,
    () => queue.stats(),
    () => queue.peek(),
    () => FabricQueue.attach(lease).size,
    () => new FabricQueue(lease, 6, stride).pop(),
    () => queue.pushBatch([new Uint8Array(8), new Uint8Array(8)]),
    () => queue.popBatch(3),
    () => queue.close(),
  ];
}

function mapUses(
  table: FabricHashMap<string, number>,
  lease: MemLease,
): readonly (() => unknown)[] {
  const codecs = { key: stringCodec, value: numberCodec };
  return [
    () => table.get("k1"),
    () => table.set("k9", 9),
    () => table.delete("k2"),
    () => [...table],
    () => table.set("k2", 3),
    () => table.size,
    () => FabricHashMap.attach(lease, codecs).get("k3"),
    () => table.clear(),
  ];
}
