/**
 * One side of the map benchmarks, in a process of its own: `maps-worker.ts <map | Map | lmdb | store | lmdb store> <keys>`.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FabricHashMap, FabricKvStore, stringCodec } from "@selvage/collections";
import { rawCodec } from "@selvage/fabric";
import { Fabric } from "@selvage/node";
import { open } from "lmdb";
import { serveTurns } from "./children.ts";
import { timed, type Step, type Turn } from "./harness.ts";

const VALUE_BYTES = 64;
/** A prime that shares no factor with the number of keys: the other order. */
const STRIDE = 7_919;
const TOGETHER = 256;

/** What the maps have in common. */
interface Mapping {
  get(key: string): Uint8Array | undefined;
  set(key: string, value: Uint8Array): unknown;
  delete(key: string): boolean;
  clear(): void;
  /** Runs a step's writes. */
  writing?(work: () => number): number;
}

function leased(keys: number): Mapping {
  const shape = { capacity: keys, keyBytes: 12, valueBytes: VALUE_BYTES };
  const bytes = FabricHashMap.bytesFor(shape);
  const fabric = Fabric.open({ memoryBytes: bytes + 65_536, blocks: 0 });
  const lease = fabric.mem().minBytes(bytes).leaseSecs(86_400).acquire();
  return new FabricHashMap(lease, { ...shape, key: stringCodec, value: rawCodec });
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "selvage-maps-"));
  process.on("exit", () => rmSync(path, { recursive: true, force: true }));
  return path;
}

function lmdb(): Mapping {
  const path = join(folder(), "lmdb");
  const db = open<Uint8Array, string>({ path, encoding: "binary", noSync: true });
  return {
    get: (key) => db.get(key),
    set: (key, value) => db.putSync(key, value),
    delete: (key) => db.removeSync(key),
    clear: () => db.clearSync(),
    writing: (work) => db.transactionSync(work),
  };
}

const nameOf = (index: number): string => `key-${String(index).padStart(8, "0")}`;

function mapTurns(map: Mapping, count: number): () => Turn {
  const keys = Array.from({ length: count }, (_, index) => nameOf(index));
  const absent = Array.from({ length: count }, (_, index) => nameOf(count + index));
  const values = [1, 2].map((base) =>
    Array.from({ length: count }, (_, index) => new Uint8Array(VALUE_BYTES).fill(base + index)),
  ) as [Uint8Array[], Uint8Array[]];
  const key = (op: number): string => keys[(op * STRIDE) % count] as string;
  const written = (work: (ops: number) => number): Step =>
    timed(count, (ops) => map.writing?.(() => work(ops)) ?? work(ops));
  const setAll = (of: readonly Uint8Array[]) => (ops: number) => {
    for (let op = 0; op < ops; op++) map.set(keys[op] as string, of[op] as Uint8Array);
    return map.get(key(1))?.[5] as number;
  };
  return () => {
    map.clear();
    const set = written(setAll(values[0]));
    const replace = written(setAll(values[1]));
    const get = timed(count, (ops) => {
      let sum = 0;
      for (let op = 0; op < ops; op++) sum += map.get(key(op))?.[5] as number;
      return sum;
    });
    const miss = timed(count, (ops) => {
      let found = 0;
      for (let op = 0; op < ops; op++) if (map.get(absent[op] as string) !== undefined) found++;
      return found;
    });
    const deleted = written((ops) => {
      let gone = 0;
      for (let op = 0; op < ops; op++) if (map.delete(key(op))) gone++;
      return gone;
    });
    return { set, replace, get, miss, delete: deleted };
  };
}

/** What the stores have in common. */
interface Store {
  put(key: string, value: Uint8Array): Promise<unknown>;
  get(key: string): Promise<Uint8Array | undefined>;
}

async function leasedStore(keys: number): Promise<Store> {
  const shape = { keyBytes: 12, valueBytes: VALUE_BYTES };
  const memoryBytes = FabricHashMap.bytesFor({ capacity: keys, ...shape, valueBytes: 80 });
  const blocks = 65_536;
  const blockFile = join(folder(), "blocks");
  const fabric = Fabric.open({ memoryBytes: memoryBytes + 65_536, blocks, blockFile });
  const mem = fabric.mem().minBytes(memoryBytes).leaseSecs(86_400).acquire();
  const disk = await fabric
    .block()
    .minBlocks(blocks / 2)
    .leaseSecs(86_400)
    .acquire();
  return FabricKvStore.fromLeases(mem, disk, {
    value: rawCodec,
    hotKeyBytes: shape.keyBytes,
    hotValueBytes: shape.valueBytes,
  });
}

function lmdbStore(): Store {
  const path = join(folder(), "lmdb");
  const db = open<Uint8Array, string>({ path, encoding: "binary", overlappingSync: false });
  return { put: (key, value) => db.put(key, value), get: async (key) => db.get(key) };
}

async function timedAsync(ops: number, run: () => Promise<number>): Promise<Step> {
  const begin = process.hrtime.bigint();
  const checksum = await run();
  return { ns: Number(process.hrtime.bigint() - begin), ops, checksum };
}

function storeTurns(store: Store, count: number): () => Promise<Turn> {
  const keys = Array.from({ length: count }, (_, index) => nameOf(index));
  const values = keys.map((_, index) => new Uint8Array(VALUE_BYTES).fill(index));
  const put = (op: number): Promise<unknown> =>
    store.put(keys[op] as string, values[op] as Uint8Array);
  const few = Math.ceil(count / 64);
  return async () => ({
    together: await timedAsync(count, async () => {
      for (let first = 0; first < count; first += TOGETHER)
        await Promise.all(Array.from({ length: TOGETHER }, (_, index) => put(first + index)));
      return count;
    }),
    single: await timedAsync(few, async () => {
      for (let op = 0; op < few; op++) await put(op);
      return few;
    }),
    get: await timedAsync(count, async () => {
      let sum = 0;
      for (let op = 0; op < count; op++)
        sum += (await store.get(keys[(op * STRIDE) % count] as string))?.[5] as number;
      return sum;
    }),
  });
}

async function main([side, countText]: readonly string[]): Promise<void> {
  const count = Number(countText);
  if (side === "store") serveTurns(storeTurns(await leasedStore(count), count));
  else if (side === "lmdb store") serveTurns(storeTurns(lmdbStore(), count));
  else if (side === "lmdb") serveTurns(mapTurns(lmdb(), count));
  else serveTurns(mapTurns(side === "map" ? leased(count) : new Map(), count));
}

await main(process.argv.slice(2));
