/**
 * Which threads may touch leased bytes, and when each last said that it holds none of the old ones.
 *
 * Reclaim by quiescence. The owner ends a lease (atomic), then raises the reclaim epoch (atomic). A thread announces
 * by loading the epoch and storing it in its entry, at a moment when it is inside no operation on leased bytes.
 * Order Q1: a thread that announces an epoch has loaded it after the owner raised it, so it also sees the lease
 * ended: its next check fails. Hence Q2: once every attached thread has announced an epoch at least as high, none
 * will touch the bytes again.
 * Order Q3 (attaching): a thread takes its entry before it checks the lease; the owner ends the lease before it
 * reads the entries. Both are sequentially consistent, so either the owner sees the entry or the thread sees the end.
 *
 * Entry 0 is the owner's own. It carries progress; its quiescence is counted by pins, not by announcements.
 */
import {
  RECLAIM_EPOCH_AT,
  THREAD_ANNOUNCED,
  THREAD_NONCE,
  THREAD_PROGRESS,
  threadAt,
  THREADS_MAX,
} from "./control-layout.ts";
import type { ControlPlane } from "./control-plane.ts";
import { CLOCK_AT } from "./control-layout.ts";
import { FabricError } from "./errors.ts";

/** The owner's entry. */
export const OWNER_THREAD = 0;

/** Raises the reclaim epoch for a teardown that must wait; returns the epoch to wait for. Owner only. */
export function raiseReclaimEpoch(control: ControlPlane): number {
  return (control.words.add(RECLAIM_EPOCH_AT, 1) + 1) | 0;
}

/** True once every attached thread has announced `epoch` or a later one. Owner only. Costs one load an entry in use. */
export function isQuiescentSince(control: ControlPlane, epoch: number): boolean {
  for (let thread = 1; thread < THREADS_MAX; thread++) {
    const at = threadAt(thread);
    if (control.words.load(at + THREAD_NONCE) === 0) continue;
    // Epochs are compared by their difference, so that they may wrap.
    if (((control.words.load(at + THREAD_ANNOUNCED) - epoch) | 0) < 0) return false;
  }
  return true;
}

/** Calls `visit` with the nonce of every thread that has an entry. Plain loads: one that is missed is seen the next time. */
export function eachAttached(control: ControlPlane, visit: (nonce: number) => void): void {
  for (let thread = 1; thread < THREADS_MAX; thread++) {
    const nonce = control.plain[threadAt(thread) + THREAD_NONCE] as number;
    if (nonce !== 0) visit(nonce);
  }
}

/** Frees the entries of the thread that introduced itself by `nonce`: it has exited, it touches nothing any more. */
export function forgetThread(control: ControlPlane, nonce: number): void {
  for (let thread = 1; thread < THREADS_MAX; thread++) {
    const at = threadAt(thread) + THREAD_NONCE;
    control.words.compareExchange(at, nonce, 0);
  }
}

/**
 * What the thread of an entry attached with; 0 when there is none, and for the owner's own entry. Once it has changed,
 * the thread that had the entry has exited: it touches nothing any more.
 */
export function nonceOf(control: ControlPlane, entry: number): number {
  return control.words.load(threadAt(entry) + THREAD_NONCE);
}

/** Whether the thread that attached with `nonce` still has the entry. The owner's entry (0) is always held. */
export function isAttached(control: ControlPlane, entry: number, nonce: number): boolean {
  return entry === OWNER_THREAD || nonceOf(control, entry) === nonce;
}

/** The clock at a thread's last progress, low word. */
export function progressOf(control: ControlPlane, thread: number): number {
  return control.words.load(threadAt(thread) + THREAD_PROGRESS);
}

/** One thread's own entry: its progress, and its announcements. */
export class ThreadPulse {
  /** Index of the entry. */
  readonly thread: number;
  /** What tells this thread from an earlier one with the same entry; 0 for the owner. */
  readonly nonce: number;
  /** Low word of the clock at the last {@link beat}; compared on hot paths so that most operations store nothing. */
  clock = 0;
  /** How many `with` callbacks this thread is inside: it announces nothing meanwhile. */
  depth = 0;
  readonly #control: ControlPlane;
  readonly #at: number;

  private constructor(control: ControlPlane, thread: number, nonce: number) {
    this.#control = control;
    this.nonce = nonce;
    this.#at = threadAt(thread);
    this.thread = thread;
    this.progress();
  }

  /** The owner's pulse. */
  static owner(control: ControlPlane): ThreadPulse {
    return new ThreadPulse(control, OWNER_THREAD, 0);
  }

  /**
   * Takes an entry for this thread. `nonce` (not 0) is what the thread introduced itself by, so that its exit can be
   * told to the owner.
   * @throws FabricError `CAPACITY_EXCEEDED` when THREADS_MAX threads are attached.
   */
  static attach(control: ControlPlane, nonce: number): ThreadPulse {
    for (let thread = 1; thread < THREADS_MAX; thread++) {
      const at = threadAt(thread);
      if (control.words.compareExchange(at + THREAD_NONCE, 0, nonce) !== 0) continue;
      const pulse = new ThreadPulse(control, thread, nonce);
      pulse.announce();
      return pulse;
    }
    throw new FabricError(
      "CAPACITY_EXCEEDED",
      "Cannot attach this thread: every thread entry is taken",
      {
        threadsMax: THREADS_MAX - 1,
      },
    );
  }

  /** Notes progress at clock `low`. Called by operations when the clock has moved since the last one. */
  beat(low: number): void {
    this.clock = low;
    this.#control.plain[this.#at + THREAD_PROGRESS] = low;
  }

  /** Notes progress now. */
  progress(): void {
    const low = this.#control.words.load(CLOCK_AT);
    this.clock = low;
    this.#control.words.store(this.#at + THREAD_PROGRESS, low);
  }

  /** Says that this thread is inside no operation on leased bytes, unless it is. Also progress: the thread is alive. */
  announce(): void {
    this.progress();
    if (this.depth !== 0) return;
    const epoch = this.#control.words.load(RECLAIM_EPOCH_AT);
    this.#control.words.store(this.#at + THREAD_ANNOUNCED, epoch);
  }
}
