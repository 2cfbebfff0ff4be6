/**
 * The right to run one id, in the record that has its checkpoint, so that taking the right over and fencing the runner
 * before are one compare-and-set. No clock is shared: a runner writes its record again and again, and whoever sees one
 * record for as long as its lease lasts may replace it.
 *
 * Invariant P2: every write expects the revision of this runner's last one. Once another has replaced the record, none
 * of this runner's writes is done, whenever it arrives.
 * Invariant P5: a runner stops first. Its own deadline counts from when the write that was answered was *sent*, and is
 * shorter than the time for which others look on.
 */
import { FabricError, isFabricError, type Clock, type Timer } from "@selvage/fabric";
import type { CheckpointStore } from "./checkpoint-store.ts";
import { decodeRun, encodeRun, type RunHeader, type RunState } from "./staged-checkpoint.ts";

/** How far any clock may run from true time, as a part of 1. */
const rho = 0.1;
/** A runner stops so much earlier, and others wait so much longer, in milliseconds. */
const marginMs = 10;
/** When a runner writes again, and how soon after a failure, as parts of its lease. */
const beatAt = 0.4;
const retryAfter = 0.1;
const roundsMax = 8;

/** How long a record must have stayed the same before its runner counts as gone, in milliseconds. */
export function silenceMs(leaseMs: number): number {
  return leaseMs * (1 + rho) + marginMs;
}

/** A store's answer; what is not of the fabric's kind becomes `STORE_UNAVAILABLE`. */
export async function asked<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (cause) {
    if (isFabricError(cause)) throw cause;
    throw new FabricError("STORE_UNAVAILABLE", "The checkpoints' store failed", {}, { cause });
  }
}

/** What a claim needs of its run. */
export interface ClaimTerms {
  readonly store: CheckpointStore;
  readonly key: string;
  readonly clock: Clock;
  readonly timer: Timer;
  /** Called with each beat: what else is to be kept. */
  readonly onBeat: () => void;
  /** Called once, when the claim is lost. */
  readonly onLost: (error: unknown) => void;
}

/** What changes with a save; the rest of the header stays. */
export type RunChange = Pick<RunHeader, "finished" | "place" | "earlier">;

type HeaderChange = Partial<Omit<RunHeader, "earlier">> & {
  readonly earlier?: RunHeader["earlier"] | undefined;
};

/** A run that is held. Its writes are done one after the other. */
export class RunClaim {
  /** The revision by which the run was claimed: larger than those of all runners before. */
  readonly epoch: number;
  readonly #terms: ClaimTerms;
  readonly #runner: string;
  #state: RunState;
  #revision: number;
  #deadlineMs: number;
  // True after a write whose end is not known.
  #isUnsure = false;
  #isOver = false;
  #work: Promise<unknown> = Promise.resolve();
  #cancelTimer: () => void = () => {};

  /** A claim that was written as `state`, with `revision`, and sent at `sentAtMs`. */
  constructor(terms: ClaimTerms, state: RunState, revision: number, sentAtMs: number) {
    this.#terms = terms;
    this.#runner = state.header.runner as string;
    this.epoch = revision;
    this.#state = { ...state, header: { ...state.header, epoch: revision } };
    this.#revision = revision;
    this.#deadlineMs = this.#deadlineOf(sentAtMs);
    this.#schedule(state.header.ttlMs * beatAt);
  }

  /** Resolves once the runner has shown that it lives, when it is late with that. @throws as `save`. */
  async assure(): Promise<void> {
    if (this.#terms.clock.nowMs() >= this.#deadlineMs) await this.#replace({}, undefined);
  }

  /**
   * Replaces the checkpoint; resolves with its revision.
   * @throws FabricError `STALE_EPOCH` (another runs this id), `STORE_UNAVAILABLE`, `CAPACITY_EXCEEDED`, `CORRUPT_RECORD`.
   */
  async save(change: RunChange, inline: Uint8Array): Promise<number> {
    return this.#replace({ ...change, earlier: change.earlier }, inline);
  }

  /** Lets the run go; its checkpoint stays, or, where no stage has ended, nothing. Errors as `save`. */
  async release(): Promise<void> {
    if (this.#state.header.finished === 0) return this.clear();
    await this.#replace({ runner: null }, undefined);
    this.stop();
  }

  /** Removes the record. Errors as `save`. */
  async clear(): Promise<void> {
    await this.#inTurn(async () => {
      let mayBeGone = false;
      for (let round = 1; round <= roundsMax; round++) {
        if (this.#isUnsure && !(await this.#resync(mayBeGone))) return;
        try {
          if (await asked(this.#terms.store.remove(this.#terms.key, this.#revision))) return;
        } catch (error) {
          this.#isUnsure = true;
          if (mayBeGone) throw error;
          mayBeGone = true;
          continue;
        }
        this.#isUnsure = true;
      }
      throw this.#stale(undefined);
    });
    this.stop();
  }

  /** Ends the beats. Idempotent. */
  stop(): void {
    this.#isOver = true;
    this.#cancelTimer();
  }

  #deadlineOf(sentAtMs: number): number {
    return sentAtMs + this.#state.header.ttlMs * (1 - rho) - marginMs;
  }

  async #replace(change: HeaderChange, inline: Uint8Array | undefined): Promise<number> {
    return this.#inTurn(async () => {
      const { header: old, inline: kept } = this.#state;
      const { earlier, ...header } = { ...old, ...change, beat: old.beat + 1 };
      const next = earlier === undefined ? header : { ...header, earlier };
      return this.#write({ header: next, inline: inline ?? kept });
    });
  }

  async #write(next: RunState): Promise<number> {
    const { store, key, clock } = this.#terms;
    const bytes = encodeRun(next);
    for (let round = 1; round <= roundsMax; round++) {
      if (this.#isUnsure) await this.#resync(false);
      const sentAtMs = clock.nowMs();
      this.#isUnsure = true;
      const revision = await asked(store.write(key, bytes, this.#revision));
      if (revision === undefined) continue;
      this.#isUnsure = false;
      this.#revision = revision;
      this.#state = next;
      this.#deadlineMs = Math.max(this.#deadlineMs, this.#deadlineOf(sentAtMs));
      return revision;
    }
    throw this.#stale(undefined);
  }

  // Finds out what became of a write: false when the record is gone and that is this runner's own doing.
  async #resync(mayBeGone: boolean): Promise<boolean> {
    const { store, key } = this.#terms;
    const reading = await asked(store.read(key));
    if (reading === undefined) {
      if (mayBeGone) return false;
      throw this.#stale(undefined);
    }
    const { header } = decodeRun(reading.bytes);
    if (header.runner !== this.#runner)
      throw this.#stale(header.runner === null ? undefined : header.epoch || reading.revision);
    this.#revision = reading.revision;
    this.#isUnsure = false;
    return true;
  }

  #stale(found: number | undefined): FabricError {
    const error = new FabricError(
      "STALE_EPOCH",
      `Cannot write the checkpoint of "${this.#terms.key}": another runner has taken it over`,
      { pipelineId: this.#terms.key, epoch: this.epoch, ...(found === undefined ? {} : { found }) },
    );
    this.#lose(error);
    return error;
  }

  #lose(error: unknown): void {
    if (this.#isOver) return;
    this.stop();
    this.#terms.onLost(error);
  }

  #schedule(waitMs: number): void {
    if (this.#isOver) return;
    this.#cancelTimer = this.#terms.timer.after(Math.max(1, waitMs), () => this.#beat());
  }

  #beat(): void {
    const { clock, timer } = this.#terms;
    const { ttlMs } = this.#state.header;
    this.#terms.onBeat();
    // A thread that was blocked past its deadline asks first whether anybody has noticed.
    const patienceMs = Math.max(this.#deadlineMs - clock.nowMs(), ttlMs * 2 * retryAfter);
    let isAnswered = false;
    const failed = (cause: unknown): void => {
      if (isAnswered || this.#isOver) return;
      isAnswered = true;
      cancelPatience();
      const leftMs = this.#deadlineMs - clock.nowMs();
      if (leftMs > 0) this.#schedule(Math.min(leftMs, ttlMs * retryAfter));
      else this.#lose(unheard(this.#terms.key, cause));
    };
    const cancelPatience = timer.after(patienceMs, () => failed(undefined));
    this.#replace({}, undefined).then(() => {
      if (isAnswered) return;
      isAnswered = true;
      cancelPatience();
      this.#schedule(ttlMs * beatAt);
    }, failed);
  }

  async #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const mine = this.#work.then(run);
    this.#work = mine.catch(() => {});
    return mine;
  }
}

function unheard(pipelineId: string, cause: unknown): FabricError {
  const what = `Cannot go on with "${pipelineId}": its lease could not be renewed in time`;
  const options = cause === undefined ? undefined : { cause };
  return new FabricError("STORE_UNAVAILABLE", what, { pipelineId }, options);
}
