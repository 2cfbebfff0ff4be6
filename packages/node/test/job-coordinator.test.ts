import {
  BlockOutputStore,
  MemoryOutputStore,
  type ChunkOutput,
  type CoordinatorEvent,
  type CoordinatorOptions,
  type OutputStore,
} from "@selvage/jobs";
import { FabricKvStore } from "@selvage/collections";
import { rawCodec } from "@selvage/fabric";
import { Executor, Fabric, JobCoordinator, openTaskThreads } from "@selvage/node";
import { TaskGraph } from "@selvage/batch";
import { afterAll, describe, expect, it } from "vitest";

const threads = openTaskThreads({ threads: 2 });
afterAll(() => threads.close());

/** A module whose default export is a work of `chunk-work-worker.ts`. */
function work(name: string): URL {
  return new URL(`./chunk-work-worker.ts?work=${name}`, import.meta.url);
}

const bytes = (...numbers: number[]): Uint8Array => Uint8Array.from(numbers);
const chunks = Array.from({ length: 6 }, (_, at) => bytes(at, 1));
const firsts = (outputs: readonly ChunkOutput[]): (number | undefined)[] =>
  outputs.map((output) => output.bytes[0]);
const errorsOf = (events: readonly CoordinatorEvent[]): unknown[] =>
  events.flatMap((event) =>
    event.type === "chunk" && event.error !== undefined
      ? [(event.error as { code?: string }).code ?? (event.error as Error).message]
      : [],
  );

/** Runs a job on the file's threads, on a fabric of its own; tells what it left there. */
async function ran(
  name: string,
  options: CoordinatorOptions = {},
  retries = 3,
  store?: OutputStore,
) {
  using fabric = Fabric.open({ memoryBytes: 1 << 20 });
  const events: CoordinatorEvent[] = [];
  const onEvent = (event: CoordinatorEvent): void => {
    events.push(event);
    options.onEvent?.(event);
  };
  const coordinator = new JobCoordinator({ retries, baseMs: 1 });
  const run = coordinator.run(chunks, store ?? new MemoryOutputStore(), work(name), firsts, {
    ...{ fabric, runner: threads, ...options, onEvent },
  });
  const [settled] = await Promise.allSettled([run]);
  const active = fabric.leases().length;
  return { settled, events, active };
}

describe("A job on worker threads", () => {
  it("works on its chunks there, by ticket, and leaves no lease", async () => {
    const { settled, active } = await ran("double");
    expect(settled).toMatchObject({ value: { aggregate: [0, 2, 4, 6, 8, 10], attempts: 6 } });
    expect(active).toBe(0);
  });

  it("fills its outputs in place, also ones that are empty or shorter than was allocated", async () => {
    const { settled } = await ran("inPlace");
    expect(settled).toMatchObject({ value: { aggregate: [undefined, 1, 2, 3, 4, 5] } });
  });

  it.each<[what: string, name: string, code: string, options?: CoordinatorOptions]>([
    ["throws", "throws", "once more"],
    ["throws in a timer", "uncaught", "DISCONNECTED"],
    ["exits", "exits", "DISCONNECTED"],
    ["exits as its output is taken", "exitsLate", "DISCONNECTED"],
    ["loops for ever", "loops", "TIMED_OUT", { timeoutMs: 500, graceMs: 50 }],
    ["is silent for too long", "loops", "LEASE_EXPIRED", { stallMs: 300, ttlMs: 300 }],
    ["returns what is no bytes", "text", "ENCODE"],
  ])("costs work that %s one attempt, and goes on", async (_what, name, code, options = {}) => {
    // On a busy machine a limit may hit a chunk that was only slow: that one is worked on again, too.
    const { settled, events, active } = await ran(name, options, 50);
    expect(settled).toMatchObject({ value: { aggregate: [0, 2, 4, 6, 8, 10] } });
    const errors = errorsOf(events);
    expect([...new Set(errors)]).toEqual([code]);
    const most = Object.keys(options).length === 0 ? 1 : 50;
    expect(errors.length).toBeLessThanOrEqual(most);
    expect(active).toBe(0);
  });

  it("cancels: a loop that does not listen is ended by its thread after the grace", async () => {
    const controller = new AbortController();
    const onEvent = (event: CoordinatorEvent): void => {
      if (event.type === "log") controller.abort(new Error("enough"));
    };
    const options = { signal: controller.signal, onEvent, graceMs: 50 };
    const { settled, active } = await ran("loopsAll", options);
    expect(settled).toMatchObject({ status: "rejected", reason: { message: "enough" } });
    expect(active).toBe(0);
  });

  it("brings its own fabric and threads, and lets them go", async () => {
    const store = new MemoryOutputStore();
    const { aggregate } = await new JobCoordinator().run(chunks, store, work("double"), firsts);
    expect(aggregate).toEqual([0, 2, 4, 6, 8, 10]);
  });

  it("keeps its outputs on blocks: the next run of the job finds them", async () => {
    using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 256 });
    const blocks = await fabric.block().minBlocks(128).leaseSecs(60).acquire();
    const mem = fabric.mem().minBytes(16_384).leaseSecs(60).acquire();
    const options = { value: rawCodec };
    const store = new BlockOutputStore(await FabricKvStore.fromLeases(mem, blocks, options));
    const first = await ran("fails", {}, 0, store);
    expect(first.settled).toMatchObject({
      status: "rejected",
      reason: { message: "the last one" },
    });
    const again = new BlockOutputStore(await FabricKvStore.fromCold(blocks, options));
    const second = await ran("double", {}, 0, again);
    expect(second.settled).toMatchObject({ value: { aggregate: [0, 2, 4, 6, 8, 10] } });
    const { found } = (second.settled as { value: { found: number } }).value;
    expect(found).toBeGreaterThan(0);
  });

  it("stands inside a task: a failed chunk fails the task, and its own retry goes on where it was", async () => {
    const store = new MemoryOutputStore();
    let computed = 0;
    let attempts = 0;
    const graph = new TaskGraph();
    graph.addTask({
      name: "chunks",
      retries: 1,
      backoff: { baseMs: 1 },
      outputs: [{ name: "sum", format: "raw" }],
      run: async ({ signal, attempt }) => {
        attempts = attempt;
        const name = work(attempt === 1 ? "fails" : "double");
        const options = { signal, runner: threads };
        const run = new JobCoordinator().run(chunks, store, name, firsts, options);
        const { aggregate, computed: made } = await run;
        computed = made;
        return { sum: Uint8Array.from(aggregate, (one) => one ?? 0) };
      },
    });
    const result = await Executor.run(graph.build(), { teardown: "eager" });
    expect([result.status, attempts, store.size]).toEqual(["succeeded", 2, 6]);
    expect(computed).toBeLessThan(6);
  });
});
