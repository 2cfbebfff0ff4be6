/** A job on a pool whose capacity comes and goes: threads are taken away under their chunks, and come back. */
import {
  Fabric,
  isFabricError,
  JobCoordinator,
  MemoryOutputStore,
  openTaskThreads,
  type CoordinatorEvent,
  type TaskThreads,
} from "selvage";

/** What became of a run. */
export interface PopUp {
  readonly primes: number;
  readonly chunks: number;
  /** Attempts that went with their threads. */
  readonly lost: number;
  readonly attempts: number;
  /** Leases that were left. */
  readonly leases: number;
}

const perChunk = 20_000;
/** How long there is no capacity at all, in milliseconds. */
const awayMs = 50;

/** The range of a chunk, as bytes. */
function rangeOf(index: number): Uint8Array {
  const bytes = new Uint8Array(8);
  const range = new DataView(bytes.buffer);
  range.setUint32(0, index * perChunk, true);
  range.setUint32(4, (index + 1) * perChunk, true);
  return bytes;
}

/** Sets the pool's capacity to the next one each time it is called; from none it goes on by itself. */
function changing(pool: TaskThreads, capacities: readonly number[]): () => void {
  const coming = capacities.values();
  const change = (): void => {
    const threads = coming.next().value ?? 2;
    void pool.resize(threads);
    if (threads === 0) setTimeout(change, awayMs);
  };
  return change;
}

/** Counts primes on a pool that has each of `capacities` in turn, a new one with every fourth chunk that begins. */
export async function popUp(count = 24, capacities = [1, 0, 2, 3, 0, 1, 2]): Promise<PopUp> {
  using fabric = Fabric.open({ memoryBytes: 1 << 20 });
  await using pool = openTaskThreads({ threads: 2 });
  const change = changing(pool, capacities);
  let [begun, lost] = [0, 0];
  const onEvent = (event: CoordinatorEvent): void => {
    if (event.type !== "chunk") return;
    if (event.newState === "waiting") lost++;
    if (event.newState === "running" && ++begun % 4 === 0) change();
  };
  const coordinator = new JobCoordinator({
    retries: 20,
    baseMs: 5,
    // Lost capacity is worth a retry. What the work itself throws would be thrown again.
    retryOn: (error) => isFabricError(error) && error.code === "DISCONNECTED",
  });
  const { aggregate, chunks, attempts } = await coordinator.run(
    Array.from({ length: count }, (_, index) => rangeOf(index)),
    new MemoryOutputStore(),
    new URL("./primes-worker.ts", import.meta.url),
    (outputs) =>
      outputs.reduce((sum, { bytes }) => sum + new DataView(bytes.buffer).getUint32(0, true), 0),
    { fabric, runner: pool, concurrency: 4, onEvent },
  );
  return { primes: aggregate, chunks, lost, attempts, leases: fabric.leases().length };
}
