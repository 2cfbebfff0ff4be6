import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { FabricHashMap } from "@selvage/collections";
import { isFabricError, type Fabric } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { kinds, openFabric, tickUntil } from "./fabric-hand.ts";
import {
  AT_WORK,
  COMING,
  KEYS,
  mapCodecs,
  mapShape,
  numberOf,
  readRound,
  ROUNDS,
  STOP,
  writeRound,
  type ByteMap,
  type MapTask,
} from "./map-worker.ts";

interface Peer {
  readonly worker: Worker;
  readonly flags: Int32Array<SharedArrayBuffer>;
  /** Resolves when it has stopped in order; rejects with what it threw. */
  readonly done: Promise<unknown>;
}

async function start(map: ByteMap, what: MapTask["what"], name: string): Promise<Peer> {
  const flags = new Int32Array(new SharedArrayBuffer(12));
  const workerData: MapTask = { ticket: map.ticket(), what, name, flags };
  const worker = new Worker(new URL("./map-worker.ts", import.meta.url), { workerData });
  const done = once(worker, "message");
  // One that is terminated stops in no order.
  done.catch(() => {});
  const waiting = Atomics.waitAsync(flags, AT_WORK, 0, 10_000);
  if (waiting.async) await waiting.value;
  return { worker, flags, done };
}

async function stop({ worker, flags, done }: Peer): Promise<number> {
  Atomics.store(flags, STOP, 1);
  await done;
  await worker.terminate();
  return Atomics.load(flags, ROUNDS);
}

function openMap(fabric: Fabric): ByteMap {
  const lease = fabric.mem().minBytes(FabricHashMap.bytesFor(mapShape)).acquire();
  return new FabricHashMap(lease, { ...mapShape, ...mapCodecs });
}

/** Lets this thread and the peer work side by side for at least so many rounds of each. */
function workUntil({ flags }: Peer, rounds: number, round: (number: number) => void): void {
  const startMs = performance.now();
  const first = Atomics.load(flags, ROUNDS);
  for (let number = 1; ; number++) {
    round(number);
    if (number >= rounds && Atomics.load(flags, ROUNDS) - first >= rounds) return;
    // A thread that has thrown makes no rounds: the test fails by what it threw.
    if (performance.now() - startMs > 20_000) return;
  }
}

describe.each(kinds)("a FabricHashMap between threads, on %s memory", (kind) => {
  it("M3: is read by one thread while another writes: whole values only, none that goes back, none missing", async () => {
    using fabric = openFabric(kind);
    const map = openMap(fabric);
    writeRound(map, "k", 0);
    const reader = await start(map, "read", "k");
    workUntil(reader, 5_000, (number) => writeRound(map, "k", number));
    expect(await stop(reader)).toBeGreaterThan(1_000);
  });

  it("M3: is read by its owner while a worker writes", async () => {
    using fabric = openFabric(kind);
    const map = openMap(fabric);
    writeRound(map, "k", 0);
    const writer = await start(map, "write", "k");
    const seen = new Int32Array(KEYS + COMING);
    workUntil(writer, 5_000, () => readRound(map, "k", seen));
    expect(await stop(writer)).toBeGreaterThan(1_000);
  });

  it("L1: is written to by two threads, one at a time: both find all that they wrote", async () => {
    using fabric = openFabric(kind);
    const map = openMap(fabric);
    const peer = await start(map, "write", "p");
    let last = 0;
    workUntil(peer, 3_000, (number) => writeRound(map, "o", (last = number)));
    const peerLast = await stop(peer);
    for (let key = 0; key < KEYS; key++) {
      expect(numberOf(map.get(`o${key}`) as Uint8Array)).toBe(last);
      expect(numberOf(map.get(`p${key}`) as Uint8Array)).toBe(peerLast);
    }
    expect(map.size).toBe([...map].length);
    expect(map.repairs).toBe(0);
  });

  it("M4: outlives writers that are terminated anywhere: readers go on at once, the next writer as soon as the exit is known", async () => {
    using fabric = openFabric(kind);
    const map = openMap(fabric);
    writeRound(map, "k", 0);
    for (let round = 0; round < 6; round++) {
      const writer = await start(map, "write", "k");
      const seen = new Int32Array(KEYS + COMING);
      await writer.worker.terminate();
      readRound(map, "k", seen);
      await tickUntil(fabric, () => isWritten(map));
      readRound(map, "k", new Int32Array(KEYS + COMING));
      expect(map.size).toBe([...map].length);
      writeRound(map, "k", 0);
    }
  });
});

/** Writes once; false while another thread has the map, or seems to. */
function isWritten(map: ByteMap): boolean {
  try {
    return map.set("o", new Uint8Array(64));
  } catch (thrown) {
    if (isFabricError(thrown) && thrown.code === "TIMED_OUT") return false;
    throw thrown;
  }
}
