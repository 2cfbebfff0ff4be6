/**
 * Grants leases to holders on other machines, from one durable record.
 *
 * Requests are taken in batches: all that came while the last batch was being stored are decided together, on what is
 * then so (L5), stored by one write, and answered when that is durable (L2). A batch that changes nothing looks at the
 * record instead: so an authority that another has replaced answers nobody, not even a renewal (L6). That look begins
 * after the request came, and a holder counts from before: the successor, which gives every lease a whole TTL, ends none
 * that its predecessor renewed.
 */
import {
  FabricError,
  invalidArgument,
  type Clock,
  type RecordBlocks,
  type Timer,
} from "@selvage/fabric";
import { FencedRecord, FencedRecordReader } from "@selvage/fence";
import { GrantBook } from "./grant-book.ts";
import { LivedTime, STALL_TICKS } from "./lease-clocks.ts";
import type {
  GrantRequest,
  LeaseGrant,
  LeaseName,
  LeaseReading,
  LeaseStore,
} from "./lease-store.ts";

/** How an authority waits. */
export interface AuthorityOptions {
  /** How far any clock may run from true time, fast or slow, as a part of 1. As the holders'. Default 0.1. */
  readonly rho?: number;
  /** Looks for leases that have ended every so many milliseconds, 1 to 333. Default 50. */
  readonly tickMs?: number;
  /** Waits so much longer than a lease's end before the next grant, at least 3 ticks. Default 3 ticks. */
  readonly lockDelayMs?: number;
  /** Is told of each lease that its time has ended, once that is durable. For logs and tests. */
  readonly onExpired?: (lease: LeaseName) => void;
}

/** What an authority needs from its host. */
export interface AuthorityPorts {
  readonly clock: Clock;
  readonly timer: Timer;
}

type Phase = "extend" | "end" | "grant";

interface Waiting {
  readonly phase: Phase;
  /** Decides on what is so now. Returns what answers, once that is durable. */
  readonly decide: (nowMs: number) => () => void;
  readonly refuse: (error: unknown) => void;
}

const recordKind = "LSAU";
/** Renewals first: what came in time is counted before anything ends. */
const phases: readonly Phase[] = ["extend", "end", "grant"];

/**
 * An authority over the record on some blocks. It stops for good when a write fails, or another is opened on the same record:
 * every call is then `STORE_UNAVAILABLE`. Open another to go on.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fabric, SystemClock, systemTimer } from "selvage";
 * import { LeaseAuthority } from "@selvage/leasekit";
 *
 * await using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 64 });
 * const blocks = await fabric.block().minBlocks(8).acquire();
 * const ports = { clock: new SystemClock(), timer: systemTimer };
 * await using authority = await LeaseAuthority.open(blocks, ports);
 * const request = { resource: "orders", holder: "a", requestId: "r1", ttlMs: 5_000 };
 * const { epoch } = await authority.acquire(request);
 * assert.equal((await authority.acquire(request)).epoch, epoch); // the answer was lost: the same lease
 * await assert.rejects(authority.acquire({ ...request, holder: "b" }), { code: "CONFLICT" });
 * await authority.release({ resource: "orders", holder: "a", epoch });
 * assert.equal((await authority.acquire({ ...request, holder: "b" })).epoch, epoch + 1);
 * ```
 */
export class LeaseAuthority<B extends RecordBlocks = RecordBlocks> implements LeaseStore {
  readonly #record: FencedRecord<B>;
  readonly #reader: FencedRecordReader;
  readonly #book: GrantBook;
  readonly #time: LivedTime;
  readonly #onExpired: (lease: LeaseName) => void;
  readonly #cancelTick: () => void;
  readonly #stopped = Promise.withResolvers<unknown>();
  #waiting: Waiting[] = [];
  #work: Promise<void> | undefined;
  #failure: unknown;
  #isClosed = false;

  private constructor(
    record: FencedRecord<B>,
    reader: FencedRecordReader,
    book: GrantBook,
    time: LivedTime,
    timer: Timer,
    options: Required<AuthorityOptions>,
  ) {
    this.#record = record;
    this.#reader = reader;
    this.#book = book;
    this.#time = time;
    this.#onExpired = options.onExpired;
    this.#cancelTick = timer.every(options.tickMs, () => this.#tick());
  }

  /**
   * Opens an authority on all of `blocks`. One that was open on them is over from then on. Every lease that was granted
   * counts as renewed now.
   * @throws FabricError `INVALID_ARGUMENT`, `CORRUPT_RECORD`, `DECODE`, what the blocks throw.
   */
  static async open<B extends RecordBlocks>(
    blocks: B,
    ports: AuthorityPorts,
    options: AuthorityOptions = {},
  ): Promise<LeaseAuthority<B>> {
    const { rho = 0.1, tickMs = 50, onExpired = () => {} } = options;
    const { lockDelayMs = tickMs * STALL_TICKS } = options;
    if (!(rho >= 0 && rho < 1)) throw invalidArgument("rho", "a number from 0 and below 1", rho);
    if (!(lockDelayMs >= tickMs * STALL_TICKS && lockDelayMs < Infinity))
      throw invalidArgument(
        "lockDelayMs",
        `milliseconds, ${STALL_TICKS} ticks or more`,
        lockDelayMs,
      );
    const record = new FencedRecord(blocks, recordKind);
    const { state } = await record.read();
    const time = new LivedTime(ports.clock, tickMs);
    const rules = { rho, lockDelayMs, bytesMax: record.bytesMax };
    // Whoever was here before is stale from this write on, and a second look at the record is not needed.
    await record.write(new GrantBook(rules, state, 0).encode());
    const book = new GrantBook(rules, state, time.nowMs());
    const reader = new FencedRecordReader(blocks, recordKind);
    const all = { rho, tickMs, lockDelayMs, onExpired };
    return new LeaseAuthority(record, reader, book, time, ports.timer, all);
  }

  /** Resolves with what stopped the authority, once something has: `STALE_EPOCH` when another was opened. */
  get stopped(): Promise<unknown> {
    return this.#stopped.promise;
  }

  acquire(request: GrantRequest): Promise<LeaseGrant> {
    checkText("requestId", request.requestId);
    checkText("holder", request.holder);
    const { ttlMs } = request;
    if (!(Number.isSafeInteger(ttlMs) && ttlMs >= 1))
      throw invalidArgument("ttlMs", "whole milliseconds from 1 up", ttlMs);
    return this.#ask("grant", request.resource, (nowMs) => this.#book.grant(request, nowMs));
  }

  renew(lease: LeaseName): Promise<{ readonly ttlMs: number }> {
    return this.#ask("extend", lease.resource, (nowMs) => this.#book.renew(lease, nowMs));
  }

  release(lease: LeaseName): Promise<void> {
    return this.#ask("end", lease.resource, () => this.#book.release(lease));
  }

  revoke(lease: Omit<LeaseName, "holder">): Promise<void> {
    return this.#ask("end", lease.resource, () => this.#book.revoke(lease));
  }

  look(resource: string): Promise<LeaseReading> {
    return this.#ask("grant", resource, () => this.#book.look(resource));
  }

  /** Ends the authority: resolves with the blocks, once what was asked has been answered. */
  async close(): Promise<B> {
    this.#isClosed = true;
    await this.#work;
    this.#stop(new FabricError("DISCONNECTED", "Cannot ask the authority: it was closed"));
    return this.#record.close();
  }

  /** As `close`; nothing, where it was closed. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isClosed) await this.close();
  }

  async #ask<T>(phase: Phase, resource: string, act: (nowMs: number) => T): Promise<T> {
    checkText("resource", resource);
    if (this.#failure !== undefined) throw refusalOf(this.#failure);
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const decide = (nowMs: number): (() => void) => {
      try {
        const answer = act(nowMs);
        return () => resolve(answer);
      } catch (error) {
        return () => reject(error);
      }
    };
    this.#waiting.push({ phase, decide, refuse: reject });
    this.#wake();
    return promise;
  }

  #tick(): void {
    const nowMs = this.#time.nowMs();
    if (!this.#time.isDraining(nowMs) && this.#book.isDue(nowMs)) this.#wake(true);
  }

  #wake(isDue = false): void {
    if (this.#work !== undefined || this.#failure !== undefined) return;
    this.#work = this.#serve(isDue);
  }

  async #serve(isDue: boolean): Promise<void> {
    let isAsked = isDue;
    // What is asked in one go is one batch.
    await Promise.resolve();
    while ((isAsked || this.#waiting.length > 0) && this.#failure === undefined) {
      isAsked = false;
      const batch = this.#waiting;
      this.#waiting = [];
      const answers = this.#decide(batch);
      try {
        await this.#settle();
      } catch (error) {
        for (const { refuse } of batch) refuse(error);
        continue;
      }
      for (const answer of answers) answer();
    }
    // In the same step as the last look at what waits: whoever comes after it begins anew.
    this.#work = undefined;
  }

  #decide(batch: readonly Waiting[]): readonly (() => void)[] {
    const nowMs = this.#time.nowMs();
    return phases.flatMap((phase) => {
      const decided = batch.flatMap((asked) =>
        asked.phase === phase ? [asked.decide(nowMs)] : [],
      );
      // What came in time has been counted by now (L6).
      if (phase !== "end" || this.#time.isDraining(nowMs)) return decided;
      const ended = this.#book.expire(nowMs);
      return [...decided, ...ended.map((lease) => () => this.#onExpired(lease))];
    });
  }

  // L2, L6: after this, what was decided survives, and this authority was not replaced before it was asked.
  async #settle(): Promise<void> {
    if (this.#book.isChanged) {
      try {
        await this.#record.write(this.#book.encode());
      } catch (cause) {
        // J4: what the record holds now is not known.
        throw this.#stop(cause);
      }
      return;
    }
    const { generation } = await this.#reader.read().catch((cause: unknown) => {
      throw refusalOf(cause);
    });
    const { generation: own } = this.#record;
    if (generation === own) return;
    const what = "Cannot serve leases: another authority has taken over";
    throw this.#stop(new FabricError("STALE_EPOCH", what, { generation: own, found: generation }));
  }

  // Returns what to refuse with.
  #stop(cause: unknown): FabricError {
    const error = refusalOf(cause);
    this.#failure ??= cause;
    this.#cancelTick();
    this.#stopped.resolve(cause);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { refuse } of waiting) refuse(error);
    return error;
  }
}

// Never a code that a holder would take for the end of its lease: that is not known here.
function refusalOf(cause: unknown): FabricError {
  const what = "Cannot serve leases: the authority has stopped, or its record cannot be read";
  return new FabricError("STORE_UNAVAILABLE", what, {}, { cause });
}

function checkText(name: string, value: unknown): void {
  if (typeof value !== "string" || value === "") throw invalidArgument(name, "a text", value);
}
