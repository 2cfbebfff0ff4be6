/** One attempt at a chunk's work, on this thread or on a worker thread. */
import { FabricError, OWNER_THREAD, type Fabric, type MemLease } from "@selvage/fabric";
import type {
  CommittedOutput,
  Hold,
  NamedData,
  RenewalManager,
  TaskRequest,
  TaskRunner,
} from "@selvage/leasekit";
import type { NamedChunk } from "./chunk.ts";
import {
  CHUNK_INPUT,
  CHUNK_OUTPUT,
  checkOutput,
  type ChunkContext,
  type ChunkModule,
  type ChunkWork,
} from "./chunk-work.ts";
import type { JobAbortSource } from "./coordinator-options.ts";

/** Whom an attempt tells what it does. */
export interface AttemptTold {
  readonly chunk: NamedChunk;
  /** From 1. */
  readonly attempt: number;
  /** The work has begun: on a worker thread, that has taken until it was free. */
  readonly onStart: () => void;
  readonly onProgress: (fraction: number | undefined) => void;
  readonly onLog: (message: string) => void;
}

/** Something that makes an output, and can be stopped. */
export interface ChunkAttempt {
  /** Rejects with what the work threw, or why it does not count. Never both ways before its threads let its leases go. */
  readonly output: Promise<Uint8Array>;
  /** Tells the work to stop. */
  abort(reason: unknown): void;
  /**
   * Ends the work, whatever it does. False where nothing can: a function on this thread goes on, and `output` settles when it
   * does.
   */
  end(): boolean;
  /** True once what the work holds has lapsed: it was silent for too long. */
  readonly isLapsed: boolean;
}

/** Calls a function on this thread. */
export function attemptHere(
  work: ChunkWork,
  told: AttemptTold,
  source: JobAbortSource,
): ChunkAttempt {
  const { id, bytes } = told.chunk;
  const context: ChunkContext = {
    ...{ id, attempt: told.attempt, signal: source.signal },
    allocate: (length) => new Uint8Array(length),
    progress: told.onProgress,
    log: told.onLog,
  };
  const run = async (): Promise<Uint8Array> => {
    // Whoever is told of the start may stop the job: by then this attempt is in its books.
    await Promise.resolve();
    told.onStart();
    if (source.signal.aborted) throw source.signal.reason;
    return checkOutput(id, await work(bytes, context));
  };
  return {
    output: run(),
    abort: (reason) => source.abort(reason),
    end: () => false,
    isLapsed: false,
  };
}

/** What attempts on worker threads share. */
export interface ThreadParts {
  readonly fabric: Fabric;
  readonly runner: TaskRunner;
  readonly renewals: RenewalManager;
  readonly ttlMs: number;
  readonly stallMs: number;
  /** Rises with every attempt of a job. */
  readonly epoch: number;
  /** How the body is called. Default `"chunk"`. */
  readonly form?: "chunk" | "job";
}

/** Short leases, renewed with half of their TTL to spare, as a run's outputs are. */
const policy = { renewAtFraction: 0.4 } as const;

/** Sends the work to a worker thread: the chunk and its output cross by ticket. @throws FabricError `CAPACITY_EXCEEDED`. */
export function attemptThere(
  work: ChunkModule,
  told: AttemptTold,
  parts: ThreadParts,
): ChunkAttempt {
  const loans = new Loans(parts);
  try {
    return new ThreadAttempt(work, told, parts, loans);
  } catch (thrown) {
    loans.end();
    throw thrown;
  }
}

/** The leases of an attempt, held and pinned until its thread has let them go. */
class Loans {
  readonly #parts: ThreadParts;
  readonly #held: { readonly lease: MemLease; readonly unpin: () => void; hold: Hold }[] = [];
  #thread = OWNER_THREAD;
  #isOver = false;

  constructor(parts: ThreadParts) {
    this.#parts = parts;
  }

  acquire(bytes: number, label: string): { readonly number: number; readonly lease: MemLease } {
    const { fabric, ttlMs } = this.#parts;
    if (this.#isOver) throw new FabricError("LEASE_EXPIRED", "Cannot lease: the attempt is over");
    // A lease of no bytes is none.
    const lease = fabric.mem().minBytes(Math.max(bytes, 1)).leaseMs(ttlMs).label(label).acquire();
    try {
      const hold = this.#hold(lease);
      this.#held.push({ lease, unpin: lease.pin(), hold });
    } catch (thrown) {
      lease.release();
      throw thrown;
    }
    return { number: this.#held.length - 1, lease };
  }

  /** From now on the leases are kept by the progress of `thread`; until now this thread waited for one. */
  handTo(thread: number): void {
    this.#thread = thread;
    for (const one of this.#held) {
      const before = one.hold;
      one.hold = this.#hold(one.lease);
      before.end();
    }
  }

  at(number: number): MemLease | undefined {
    return this.#held[number]?.lease;
  }

  get isLapsed(): boolean {
    return this.#held.some(({ hold, lease }) => hold.isLapsed || !lease.isLive);
  }

  end(): void {
    this.#isOver = true;
    for (const { lease, unpin, hold } of this.#held.splice(0)) {
      hold.end();
      lease.release();
      unpin();
    }
  }

  #hold(lease: MemLease): Hold {
    const { renewals, ttlMs, stallMs } = this.#parts;
    return renewals.hold(lease, { ttlMs, stallMs, thread: this.#thread, policy });
  }
}

/** What crosses to another thread instead of the reason of an abort. */
const abortMessage = "the chunk's attempt was told to stop";

class ThreadAttempt implements ChunkAttempt {
  readonly output: Promise<Uint8Array>;
  readonly #loans: Loans;
  readonly #running: ReturnType<TaskRunner["run"]>;
  // Why the leases could not be held when the work started: told by a worker thread, nobody is there to throw to.
  #notHeld: { readonly why: unknown } | undefined;

  constructor(work: ChunkModule, told: AttemptTold, parts: ThreadParts, loans: Loans) {
    const { chunk, attempt } = told;
    const { bytes } = chunk;
    this.#loans = loans;
    const { lease } = loans.acquire(bytes.length, `chunk ${chunk.index}`);
    lease.write(0, bytes);
    const request: TaskRequest = {
      module: work.href,
      form: parts.form ?? "chunk",
      task: chunk.id,
      attempt,
      epoch: parts.epoch,
      fabric: parts.fabric.ticket(),
      inputs: [{ ref: raw(CHUNK_INPUT), bytes: bytes.length, ticket: lease.ticket() }],
      outputs: [raw(CHUNK_OUTPUT)],
    };
    this.#running = parts.runner.run(request, {
      started: (thread) => this.#start(thread, told),
      acquire: (_output, length) => {
        const { number, lease: room } = loans.acquire(length, `output ${chunk.index}`);
        return { number, ticket: room.ticket() };
      },
      progress: told.onProgress,
      log: told.onLog,
    });
    this.output = this.#take(chunk);
  }

  abort(): void {
    this.#running.abort(abortMessage);
  }

  end(): boolean {
    this.#running.terminate();
    return true;
  }

  get isLapsed(): boolean {
    return this.#notHeld !== undefined || this.#loans.isLapsed;
  }

  #start(thread: number, told: AttemptTold): void {
    try {
      this.#loans.handTo(thread);
    } catch (why) {
      this.#notHeld = { why };
    }
    told.onStart();
  }

  async #take(chunk: NamedChunk): Promise<Uint8Array> {
    try {
      const { outputs } = await this.#running.reply;
      if (this.#notHeld !== undefined) throw this.#notHeld.why;
      // The last word on whether the work counts: every lease it touched must still stand, and be held by it.
      if (this.#loans.isLapsed) throw lapsed(chunk);
      return this.#read(chunk, outputs);
    } finally {
      this.#loans.end();
    }
  }

  #read(chunk: NamedChunk, outputs: readonly CommittedOutput[]): Uint8Array {
    const made = outputs.find(({ name }) => name === CHUNK_OUTPUT);
    const lease = made === undefined ? undefined : this.#loans.at(made.allocation);
    if (made === undefined || lease === undefined) throw lapsed(chunk);
    return lease.read(0, made.bytes);
  }
}

function raw(name: string): NamedData {
  return { name, format: "raw" };
}

/** Why an attempt's work does not count. */
export function lapsed({ id }: NamedChunk): FabricError {
  return new FabricError(
    "LEASE_EXPIRED",
    `The attempt at chunk "${id}" does not count: it was silent for too long, or a lease of it ended`,
    { chunk: id },
  );
}
