/** Chunk-parallel work whose outputs are kept. */
import { FabricError, invalidArgument } from "@selvage/fabric";
import { resolveRetryPolicy, type RetryPolicy } from "@selvage/leasekit";
import { nameChunks, type Chunk, type ChunkId, type NamedChunk } from "./chunk.ts";
import type { ChunkModule, ChunkWork } from "./chunk-work.ts";
import { resolveJob, type CoordinatorOptions, type JobPorts } from "./coordinator-options.ts";
import { JobRun } from "./coordinator-run.ts";
import type { OutputStore } from "./output-store.ts";

/** A chunk's output, as it is aggregated. */
export interface ChunkOutput {
  readonly id: ChunkId;
  /** The chunk's place, from 0. */
  readonly index: number;
  readonly bytes: Uint8Array;
}

/** What a job came to. */
export interface CoordinatorResult<R> {
  /** What `aggregate` returned. */
  readonly aggregate: R;
  /** Chunks, those of one id counted once. */
  readonly chunks: number;
  /** Chunks whose output this run saw stored. */
  readonly computed: number;
  /** Chunks whose output the store had before. */
  readonly found: number;
  readonly attempts: number;
  readonly retries: number;
  /** From the call to the aggregate, in milliseconds. */
  readonly elapsedMs: number;
}

/** How many outputs are read from the store at a time. */
const readsMax = 32;

/**
 * Works on the chunks of a job in parallel, keeps each chunk's output, and makes one result of all. A job that was broken off goes on
 * where it was: what the store has is not worked on again.
 *
 * J1: a chunk has one output: the first that was stored under its id, however often it was worked on.
 * J2: the aggregate sees each chunk's output once, in chunk order; equal chunks without ids are chunks apart.
 * J3: at most `concurrency` chunks are worked on at a time, none twice at a time.
 * J4: a job ends: no chunk is tried more than 1 + `retries` times, and all together are retried `retryBudget` times at most.
 * J5: nothing that an attempt makes counts once it has lost its leases, its time or its job.
 * J6: when a job has ended, none of its leases, threads and timers are left.
 */
export class JobCoordinator {
  readonly #policy: RetryPolicy;
  readonly #ports: JobPorts;

  /** Retries each chunk by `retryPolicy`; a number is a count of retries. @throws FabricError `INVALID_ARGUMENT`. */
  constructor(retryPolicy: number | Partial<RetryPolicy>, ports: JobPorts) {
    this.#policy = resolveRetryPolicy(retryPolicy);
    this.#ports = ports;
  }

  /**
   * Runs a job. `work` is a function, called on this thread, or the URL of a module whose default export is one, called on
   * worker threads: chunks and outputs then cross by ticket, one copy each. `aggregate` gets the outputs in chunk order,
   * all in memory at a time.
   * @throws FabricError `INVALID_ARGUMENT`; what the last attempt at a chunk threw; `TIMED_OUT`; `NOT_FOUND` when the
   * store has lost an output; what `aggregate` or `onEvent` threw; the signal's reason. What was stored stays.
   */
  async run<R>(
    chunks: Iterable<Uint8Array | Chunk>,
    store: OutputStore,
    work: ChunkWork | ChunkModule,
    aggregate: (outputs: readonly ChunkOutput[]) => R | Promise<R>,
    options: CoordinatorOptions = {},
  ): Promise<CoordinatorResult<R>> {
    const ports = this.#ports;
    const startedAtMs = ports.clock.nowMs();
    const resolved = resolveJob(options, ports.parallelism);
    if (typeof (store as OutputStore | undefined)?.put !== "function")
      throw invalidArgument("store", "an OutputStore", store);
    if (typeof work !== "function" && typeof (work as ChunkModule | null)?.href !== "string")
      throw invalidArgument("work", "a function, or the URL of a module", work);
    if (typeof aggregate !== "function")
      throw invalidArgument("aggregate", "a function", aggregate);
    const named = nameChunks(chunks);
    const policy = this.#policy;
    const run = new JobRun({ chunks: named, store, work, policy, options, resolved, ports });
    const made = await run.run(async () => aggregate(await collect(named, store)));
    const elapsedMs = ports.clock.nowMs() - startedAtMs;
    return { aggregate: made, chunks: named.length, ...run.count, elapsedMs };
  }
}

async function collect(chunks: readonly NamedChunk[], store: OutputStore): Promise<ChunkOutput[]> {
  const outputs: ChunkOutput[] = [];
  for (let from = 0; from < chunks.length; from += readsMax) {
    const group = chunks.slice(from, from + readsMax);
    outputs.push(...(await Promise.all(group.map((chunk) => read(chunk, store)))));
  }
  return outputs;
}

async function read({ id, index }: NamedChunk, store: OutputStore): Promise<ChunkOutput> {
  const bytes = await store.get(id);
  if (bytes !== undefined) return { id, index, bytes };
  const message = `Cannot aggregate: the store has lost the output of chunk "${id}"`;
  throw new FabricError("NOT_FOUND", message, { chunk: id });
}
