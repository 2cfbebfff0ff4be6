/**
 * Outputs that outlive their run, on their way to whoever takes them.
 *
 * Invariant K1: a kept lease is renewed from its commit until it is taken; one that nobody takes within `stallMs` is
 * renewed no more, and expires.
 * Invariant K2: the bytes of a lease are kept or returned, never both: the ledger moves them when it ends.
 */
import { FabricError, invalidArgument, type MemLease, type Timer } from "@selvage/fabric";
import type { Hold } from "@selvage/leasekit";
import type { CodecOf } from "./data-codecs.ts";
import { ownValue, type DataFormat } from "./data-format.ts";
import type { ExecutionPlan } from "../graph/execution-plan.ts";
import type { ExecutionResult } from "../run/execution-result.ts";
import type { ShelvedOutput } from "./shelf-entry.ts";

/** Data in a lease of the caller's: what a run is given as an input. A {@link KeptOutput} is one. */
export interface LeasedData {
  readonly lease: MemLease;
  readonly format: DataFormat;
  /** How many of the lease's bytes count. Default: all of them. */
  readonly bytes?: number;
}

/** An output of a run that is over. Its lease is the caller's: to renew, to hand on, to release, or to leave to expire. */
export interface KeptOutput extends LeasedData, Disposable {
  readonly name: string;
  readonly bytes: number;
  /**
   * The value, copied or decoded: nothing of it reaches into the lease.
   * @throws FabricError `LEASE_EXPIRED`, `REVOKED`, `DECODE`.
   */
  read<T = Uint8Array>(): T;
}

/** What a run with kept outputs is made of. */
export interface KeepOptions {
  readonly ttlMs: number;
  readonly stallMs: number;
  readonly timer: Timer;
  readonly codecOf: CodecOf;
}

interface Offer {
  readonly output: ShelvedOutput;
  readonly hold: Hold | undefined;
  taken: KeptOutput | undefined;
}

/** The outputs that one run has for its caller. */
export class KeptOutputs {
  readonly #options: KeepOptions;
  readonly #offers = new Map<string, Offer>();
  readonly #refusals = new Map<string, unknown>();
  #onEnd: (() => void) | undefined;
  #stopTimer: (() => void) | undefined;

  constructor(options: KeepOptions) {
    this.#options = options;
  }

  /** Has an output taken; until then `hold` keeps it. */
  offer(output: ShelvedOutput, hold: Hold | undefined): void {
    this.#offers.set(output.ref.name, { output, hold, taken: undefined });
  }

  /** Says why an output that was to be kept cannot be had. */
  refuse(name: string, why: unknown): void {
    this.#refusals.set(name, why);
  }

  /** See `ExecutionResult.keep`. */
  take(name: string): KeptOutput {
    if (this.#refusals.has(name)) throw this.#refusals.get(name);
    const offer = this.#offers.get(name);
    if (offer === undefined)
      throw new FabricError(
        "NOT_FOUND",
        `Cannot keep "${name}": it was not asked for (option keep), or its task did not succeed`,
        { output: name, kept: [...this.#offers.keys()] },
      );
    if (offer.taken !== undefined) return offer.taken;
    const { output, hold } = offer;
    // Throws where nobody came in time. Else the caller has a whole TTL from now on.
    output.lease.renew(this.#options.ttlMs);
    offer.taken = keptOutput(output, this.#options.codecOf);
    hold?.end();
    this.#endIfTaken();
    return offer.taken;
  }

  /** Keeps what is not taken yet for `stallMs`, then calls `onEnd`. */
  wait(onEnd: () => void): void {
    this.#onEnd = onEnd;
    if (this.#endIfTaken()) return;
    // A timer that repeats keeps no program alive.
    this.#stopTimer = this.#options.timer.every(this.#options.stallMs, () => {
      for (const { hold } of this.#offers.values()) hold?.end();
      this.#end();
    });
  }

  #endIfTaken(): boolean {
    const isTaken = [...this.#offers.values()].every(({ taken }) => taken !== undefined);
    if (isTaken) this.#end();
    return isTaken;
  }

  #end(): void {
    this.#stopTimer?.();
    this.#stopTimer = undefined;
    this.#onEnd?.();
    this.#onEnd = undefined;
  }
}

/** Refuses names that no task makes. @throws FabricError `INVALID_ARGUMENT`. */
export function checkKeep(plan: ExecutionPlan, keep: readonly string[] = []): void {
  const names = new Set(plan.outputs().map(({ name }) => name));
  for (const name of keep)
    if (!names.has(name)) throw invalidArgument("keep", "names of outputs of the plan", name);
}

/** Gives a result its `keep`, beside its figures: what is cloned or printed of it stays plain data. */
export function withKeep(
  figures: Omit<ExecutionResult, "keep">,
  kept: KeptOutputs,
): ExecutionResult {
  const keep = (name: string): KeptOutput => kept.take(name);
  return Object.defineProperty(figures, "keep", { value: keep }) as ExecutionResult;
}

function keptOutput({ ref, lease, bytes }: ShelvedOutput, codecOf: CodecOf): KeptOutput {
  const { name, format } = ref;
  return {
    name,
    format,
    lease,
    bytes,
    read: <T>() => ownValue(ref, lease.read(0, bytes), codecOf) as T,
    [Symbol.dispose]: () => void lease.release(),
  };
}
