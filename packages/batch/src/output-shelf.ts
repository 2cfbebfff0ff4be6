/**
 * The outputs of a run, in their leases. An output is kept renewed while a task that reads it may still run; when the
 * last of those has ended, renewing stops and the lease expires, or is released at once.
 */
import type { Fabric, MemLease } from "@selvage/fabric";
import { LeaseScope, type Hold, type Membership, type RenewalManager } from "@selvage/leasekit";
import type { Teardown } from "./execution-options.ts";
import type { DataRef } from "./data-format.ts";
import type { KeptOutputs } from "./kept-outputs.ts";
import type { RunLedger } from "./run-ledger.ts";

/** A committed output. */
export interface ShelvedOutput {
  readonly ref: DataRef;
  readonly lease: MemLease;
  /** How many of its bytes count. */
  readonly bytes: number;
}

interface Shelf extends ShelvedOutput {
  readonly scope: LeaseScope;
  readonly members: Map<string | symbol, Membership>;
  /** True for a lease of the caller's: it is kept while it is read, and never released here. */
  readonly isForeign: boolean;
}

/** Reads an output after the run: the caller. */
const caller: unique symbol = Symbol("caller");

/** What a shelf is made of. */
export interface ShelfOptions {
  readonly fabric: Fabric;
  readonly renewals: RenewalManager | undefined;
  readonly ledger: RunLedger;
  readonly ttlMs: number;
  readonly stallMs: number;
  readonly teardown: Teardown;
  /** Outputs that outlive the run. */
  readonly keep: ReadonlySet<string>;
}

/**
 * Intermediate leases are short, and the keeper may have to wait for a processor that every task wants: a renewal at
 * 40 % of the TTL leaves half of it for that.
 */
const policy = { renewAtFraction: 0.4 } as const;

/** Leases outputs, keeps them, and lets them go. */
export class OutputShelf {
  readonly #options: ShelfOptions;
  // Everything that was ever kept, to count its renewals: holds of attempts, and scopes of outputs.
  readonly #kept: { readonly renewed: number }[] = [];
  readonly #outputs = new Map<string, Shelf>();

  constructor(options: ShelfOptions) {
    this.#options = options;
  }

  /** Leases room for an output of an attempt. @throws FabricError `CAPACITY_EXCEEDED`. */
  acquire(task: string, output: string, bytes: number): MemLease {
    const { fabric, ttlMs, ledger } = this.#options;
    const label = `${task}/${output}`;
    const lease = fabric.mem().minBytes(bytes).leaseMs(ttlMs).label(label).acquire();
    ledger.add(lease, { task, output }, fabric.nowMs());
    return lease;
  }

  /** Has a lease renewed while `thread` makes progress. Undefined when nothing renews. */
  hold(lease: MemLease, thread: number): Hold | undefined {
    const { renewals, ttlMs, stallMs } = this.#options;
    const hold = renewals?.hold(lease, { ttlMs, stallMs, thread, policy });
    if (hold !== undefined) this.#kept.push(hold);
    return hold;
  }

  /** Puts an output on the shelf, for the tasks that will read it. */
  put(output: ShelvedOutput, consumers: readonly string[]): void {
    const isKept = this.#options.keep.has(output.ref.name);
    this.#put(output, isKept ? [...consumers, caller] : consumers, false);
  }

  /** Puts a lease of the caller's on the shelf. @throws FabricError `LEASE_EXPIRED`, `REVOKED`. */
  lend(input: ShelvedOutput, consumers: readonly string[]): void {
    if (consumers.length > 0) this.#put(input, consumers, true);
  }

  /** Hands the outputs that outlive the run over: they are no longer this shelf's. */
  handOver(kept: KeptOutputs): void {
    for (const [name, shelf] of this.#outputs) {
      if (!shelf.members.has(caller) || !shelf.lease.isLive) continue;
      this.#outputs.delete(name);
      this.#options.ledger.keep(shelf.lease);
      kept.offer(shelf, shelf.scope);
    }
  }

  /** An output that an earlier task put here. */
  get(name: string): ShelvedOutput | undefined {
    return this.#outputs.get(name);
  }

  /** A task has ended: it reads none of `inputs` any more. */
  leave(consumer: string, inputs: readonly DataRef[]): void {
    for (const { name } of inputs) {
      const shelf = this.#outputs.get(name);
      const member = shelf?.members.get(consumer);
      if (shelf === undefined || member === undefined) continue;
      shelf.members.delete(consumer);
      member.leave();
      if (shelf.members.size === 0) this.#letGo(shelf);
    }
  }

  /** Lets a lease go that will not be an output: of a failed attempt, or replaced. */
  abandon(lease: MemLease): void {
    if (this.#options.teardown === "eager") lease.release();
  }

  /** Renewals of the run's leases so far. */
  get renewed(): number {
    return this.#kept.reduce((sum, kept) => sum + kept.renewed, 0);
  }

  /** Lets everything go. */
  close(): void {
    for (const shelf of this.#outputs.values()) this.#letGo(shelf);
  }

  #put(output: ShelvedOutput, consumers: readonly (string | symbol)[], isForeign: boolean): void {
    const { renewals, ttlMs, stallMs } = this.#options;
    const scope = new LeaseScope(renewals, { ttlMs, stallMs, policy });
    this.#kept.push(scope);
    const members = new Map(consumers.map((consumer) => [consumer, scope.join()]));
    scope.add(output.lease);
    const shelf = { ...output, scope, members, isForeign };
    // An attempt that failed between two of its outputs has left one here.
    const replaced = this.#outputs.get(output.ref.name);
    if (replaced !== undefined) this.#letGo(replaced);
    this.#outputs.set(output.ref.name, shelf);
    if (consumers.length === 0) this.#letGo(shelf);
  }

  #letGo(shelf: Shelf): void {
    if (this.#options.teardown === "eager" && !shelf.isForeign) shelf.scope.release();
    else shelf.scope.end();
  }
}
