/* oxlint-disable vitest/no-standalone-expect -- called from inside tests only */
/**
 * A fabric and a naive model of it, moved by the same operations. The model keeps a list of leases and looks at all
 * of them after every operation; it knows nothing of words, slots, wheels or allocators.
 */
import {
  Attachments,
  BLOCK_BYTES,
  isFabricError,
  ramBlockDevice,
  type BlockLease,
  type Fabric,
  type FabricEvent,
  type Loan,
  type MemLease,
  type MemoryProvider,
} from "@selvage/fabric";
import { expect } from "vitest";
import { imbalances, openOn, settled, START_MS, VirtualHost } from "./rig.ts";

/** One operation; `pick` chooses among all leases there ever were, modulo their number. */
export type Op =
  | {
      readonly op: "acquire";
      readonly tenant: number;
      readonly bytes: number;
      readonly ttlMs: number;
    }
  | {
      readonly op: "acquireBlocks";
      readonly tenant: number;
      readonly blocks: number;
      readonly ttlMs: number;
    }
  | { readonly op: "acquireLargest"; readonly tenant: number }
  | { readonly op: "tick" | "clock"; readonly ms: number }
  | { readonly op: "renew"; readonly pick: number; readonly ms: number; readonly by: number }
  | { readonly op: "revoke"; readonly pick: number; readonly ms: number; readonly by: number }
  | {
      readonly op: "release" | "write" | "read" | "with" | "attach" | "lend" | "releaseInside";
      readonly pick: number;
      readonly by: number;
    }
  | { readonly op: "endLoan"; readonly pick: number }
  | { readonly op: "turn" | "breakDisk" | "unfence" };

export interface WorldOptions {
  readonly provider: MemoryProvider;
  readonly shared: boolean;
  readonly guard: boolean;
}

type End = "expired" | "released" | "revoked";
type Place = "leased" | "quarantined" | "fenced" | "free";

interface Held {
  readonly lease: MemLease | BlockLease;
  /** The lease as its own thread, and as another thread, reaches it. */
  readonly handles: { readonly lease: MemLease | BlockLease; readonly isElsewhere: boolean }[];
  readonly tenant: number;
  deadlineMs: number;
  pattern: number;
  isWarned: boolean;
  /** How it ended, by whoever came first. */
  end: End | undefined;
  place: Place;
  endedAtMs: number;
  loans: number;
  isTicketed: boolean;
  /** Whether the other thread has announced since the owner concluded this lease. */
  isAnnounced: boolean;
  hasFailedWipe: boolean;
}

const memoryBytes = 16_384;
const blocks = 32;
const fenceAfterMs = 300;
const quotas = [{}, { memoryBytes: 4_100, blocks: 8 }, { leases: 3 }];
const tenantNames = ["free", "small", "few"];

/** A fabric beside its model. */
export class World {
  readonly fabric: Fabric;
  readonly #host = new VirtualHost();
  readonly #held: Held[] = [];
  readonly #loans: {
    readonly held: Held;
    readonly loan: Loan;
    readonly unpin: () => void;
    readonly pattern: number;
  }[] = [];
  readonly #events: FabricEvent[] = [];
  readonly #elsewhere: Attachments;
  readonly #guard: boolean;
  #announce: (() => void) | undefined;
  #nowMs = START_MS;
  #isDiskBroken = false;
  #patterns = 0;

  constructor({ provider, shared, guard }: WorldOptions) {
    this.#guard = guard;
    const ram = ramBlockDevice(blocks);
    const zero = async (index: number, count: number): Promise<void> => {
      if (this.#isDiskBroken) throw new Error("the disk is broken");
      await ram.zero(index, count);
    };
    const tenants = Object.fromEntries(
      tenantNames.map((name, index) => [name, quotas[index] ?? {}]),
    );
    this.fabric = openOn(
      this.#host,
      { memoryBytes, blocks, shared, guard, fenceAfterMs, tenants, maxLeases: 64 },
      { memory: provider, blockDevice: () => ({ ...ram, zero }) },
    );
    this.fabric.subscribe((event) => this.#events.push(event));
    const { clock, timer, random } = this.#host;
    this.#elsewhere = new Attachments({
      clock,
      timer,
      random,
      memory: provider,
      threads: {
        threadId: 1,
        host: () => ({ nudge() {}, expect() {}, close() {} }),
        introduce: (_owner, _fabricId, _nonce, onNudge) => void (this.#announce = onNudge),
      },
    });
  }

  /** Does one operation on both, and compares them. */
  async apply(op: Op): Promise<void> {
    await this.#apply(op);
    await settled();
    this.#settleWipes();
    this.#compare();
  }

  /** Ends everything, and asks for every byte back. */
  async finish(): Promise<void> {
    this.#isDiskBroken = false;
    for (const { loan, unpin } of this.#loans) {
      loan.end();
      unpin();
    }
    this.#loans.length = 0;
    for (const held of this.#held) held.loans = 0;
    await this.apply({ op: "tick", ms: 10_000 });
    await this.apply({ op: "turn" });
    await this.apply({ op: "tick", ms: 0 });
    await this.apply({ op: "unfence" });
    const { memory, blocks: disk } = this.fabric.stats();
    expect([memory.freeBytes, disk.freeBytes]).toEqual([memoryBytes, blocks * BLOCK_BYTES]);
    this.#checkEvents();
    this.fabric[Symbol.dispose]();
  }

  async #apply(op: Op): Promise<void> {
    if ("by" in op) return this.#applyToOne(op);
    switch (op.op) {
      case "acquire":
        return this.#acquire(op.tenant, op.bytes, op.ttlMs);
      case "acquireBlocks":
        return this.#acquireBlocks(op.tenant, op.blocks, op.ttlMs);
      case "acquireLargest":
        return this.#acquireLargest(op.tenant);
      case "tick":
        return this.#tick(op.ms);
      case "clock":
        this.#nowMs += op.ms;
        this.fabric.control.advanceClock(this.#nowMs);
        return;
      case "turn":
        return this.#turn();
      case "breakDisk":
        this.#isDiskBroken = !this.#isDiskBroken;
        return;
      case "unfence":
        return this.#unfence();
      case "endLoan":
        return this.#endLoan(op.pick);
    }
  }

  async #applyToOne(op: Extract<Op, { readonly by: number }>): Promise<void> {
    const held = this.#held[op.pick % Math.max(1, this.#held.length)];
    if (held === undefined) return;
    if (op.op === "renew") return this.#renew(held, op.ms);
    const { lease, isElsewhere } = held.handles[op.by % held.handles.length] as Held["handles"][0];
    if (op.op === "release") return this.#end(held, isElsewhere, "released", () => lease.release());
    if (op.op === "revoke") return this.#revoke(held, lease, isElsewhere, op.ms);
    if (lease.kind === "block") return this.#useBlocks(op.op, held, lease);
    this.#use(op.op, held, lease, isElsewhere);
  }

  // --- grants

  #acquire(tenant: number, bytes: number, ttlMs: number): void {
    const builder = this.fabric
      .mem()
      .tenant(tenantNames[tenant] as string)
      .minBytes(bytes)
      .leaseMs(ttlMs);
    const rounded = Math.ceil(bytes / 64) * 64;
    const refusal = this.#refusalOf("mem", tenant, rounded);
    const outcome = attempt(() => builder.acquire());
    if ("thrown" in outcome) return this.#checkRefusal(outcome.thrown, refusal, rounded);
    expect(refusal, "A6: a quota was exceeded").toBeUndefined();
    const lease = outcome.value;
    expect(lease.bytes).toBe(rounded);
    // A2, through a fresh handle: whoever had these bytes before has left none of them.
    expect(lease.read(0, rounded)).toEqual(new Uint8Array(rounded));
    lease.write(0, new Uint8Array(rounded).fill(this.#add(lease, tenant).pattern));
  }

  async #acquireBlocks(tenant: number, count: number, ttlMs: number): Promise<void> {
    const builder = this.fabric
      .block()
      .tenant(tenantNames[tenant] as string)
      .minBlocks(count)
      .leaseMs(ttlMs);
    const refusal = this.#refusalOf("block", tenant, count * BLOCK_BYTES);
    const outcome = await attemptAsync(builder.acquire());
    if ("thrown" in outcome)
      return this.#checkRefusal(outcome.thrown, refusal, count * BLOCK_BYTES);
    expect(refusal, "A6: a quota was exceeded").toBeUndefined();
    const lease = outcome.value;
    const bytes = new Uint8Array(lease.bytes).fill(1);
    await lease.readInto(0, bytes);
    expect(bytes).toEqual(new Uint8Array(count * BLOCK_BYTES));
    await lease.write(0, bytes.fill(this.#add(lease, tenant).pattern));
  }

  /** What a refusal names as the largest lease that fits, fits. */
  #acquireLargest(tenant: number): void {
    const builder = this.fabric.mem().tenant(tenantNames[tenant] as string);
    const outcome = attempt(() => builder.minBytes(memoryBytes + 1).acquire());
    if (!("thrown" in outcome)) throw new Error("a lease larger than the fabric was granted");
    const largest = outcome.thrown.details["largestFreeBytes"] as number;
    if (largest === 0 || this.#isFull || this.#refusalOf("mem", tenant, 0) !== undefined) return;
    expect(this.#refusalOf("mem", tenant, largest)).toBeUndefined();
    this.#acquire(tenant, largest, 100);
  }

  get #isFull(): boolean {
    return this.#place("leased", "quarantined", "fenced").length === 64;
  }

  #add(lease: MemLease | BlockLease, tenant: number): Held {
    this.#patterns = (this.#patterns % 250) + 1;
    const held: Held = {
      lease,
      handles: [{ lease, isElsewhere: false }],
      tenant,
      deadlineMs: lease.expiresAtMs,
      pattern: this.#patterns,
      isWarned: false,
      end: undefined,
      place: "leased",
      endedAtMs: 0,
      loans: 0,
      isTicketed: false,
      isAnnounced: false,
      hasFailedWipe: false,
    };
    this.#held.push(held);
    return held;
  }

  /** Which bound a grant of `bytes` would break, leaving out fragmentation. */
  #refusalOf(kind: "mem" | "block", tenant: number, bytes: number): string | undefined {
    const own = this.#held.filter((held) => held.tenant === tenant && held.place !== "free");
    const ownBytes = sum(own.filter(({ lease }) => lease.kind === kind));
    const {
      leases,
      memoryBytes: most,
      blocks: mostBlocks,
    } = quotas[tenant] as {
      leases?: number;
      memoryBytes?: number;
      blocks?: number;
    };
    if (leases !== undefined && own.length >= leases) return "leases";
    const quota = kind === "mem" ? most : mostBlocks && mostBlocks * BLOCK_BYTES;
    if (quota !== undefined && ownBytes + bytes > quota) return "bytes";
    const all = this.#held.filter(({ lease, place }) => lease.kind === kind && place !== "free");
    const capacity = kind === "mem" ? memoryBytes : blocks * BLOCK_BYTES;
    return sum(all) + bytes > capacity ? "capacity" : undefined;
  }

  #checkRefusal(
    thrown: { code: string; details: object },
    refusal: string | undefined,
    bytes: number,
  ): void {
    const { largestFreeBytes } = thrown.details as { largestFreeBytes?: number };
    expect([thrown.code, typeof largestFreeBytes]).toEqual(["CAPACITY_EXCEEDED", "number"]);
    if (refusal !== undefined || this.#isFull) return;
    // No bound was broken: what is left is room in pieces too small.
    expect(thrown.details, "A6: a quota was counted wrongly").not.toMatchObject({ limit: "quota" });
    expect(largestFreeBytes).toBeLessThan(bytes);
  }

  // --- time, and the other thread

  #tick(ms: number): void {
    this.#nowMs += ms;
    this.fabric.tick(this.#nowMs);
    for (const held of this.#place("leased")) {
      held.end ??= this.#endByDeadline(held);
      if (held.end !== undefined) this.#conclude(held);
    }
    for (const held of this.#place("quarantined", "fenced")) {
      if (held.hasFailedWipe) continue;
      if (this.#isQuiet(held)) held.place = "free";
      else if (held.loans === 0 && this.#nowMs - held.endedAtMs >= fenceAfterMs)
        held.place = "fenced";
    }
  }

  #turn(): void {
    this.#announce?.();
    this.#announced();
  }

  #announced(): void {
    for (const held of this.#held) if (held.place !== "leased") held.isAnnounced = true;
  }

  #endByDeadline(held: Held): End | undefined {
    if (held.end !== undefined) return held.end;
    if (this.#nowMs < held.deadlineMs) return undefined;
    return held.isWarned ? "revoked" : "expired";
  }

  #conclude(held: Held): void {
    if (held.place !== "leased") return;
    held.endedAtMs = this.#nowMs;
    held.place = this.#isQuiet(held) ? "free" : "quarantined";
  }

  #isQuiet(held: Held): boolean {
    if (held.loans > 0) return false;
    return !held.isTicketed || this.#announce === undefined || held.isAnnounced;
  }

  /** A block's wipe settles after the step that began it: then it is free, or fenced by a broken disk. */
  #settleWipes(): void {
    for (const held of this.#held) {
      if (held.lease.kind !== "block" || held.place !== "free") continue;
      if (held.isAnnounced || !this.#isDiskBroken) held.isAnnounced = true;
      else {
        held.place = "fenced";
        held.hasFailedWipe = true;
      }
    }
  }

  #unfence(): void {
    for (const held of this.#place("fenced")) {
      const { leaseId } = held.lease;
      if (!held.hasFailedWipe) {
        expect(() => this.fabric.unfence(leaseId)).toThrow("a lease whose teardown failed");
        continue;
      }
      this.fabric.unfence(leaseId);
      if (this.#isDiskBroken) continue;
      held.hasFailedWipe = false;
      held.place = "free";
    }
  }

  // --- ends

  #renew(held: Held, ttlMs: number): void {
    const { lease } = held;
    // A block's renewal is promised, but made before the promise is.
    if (lease.kind === "block") lease.renew(ttlMs).catch(() => {});
    const outcome =
      lease.kind === "mem" ? attempt(() => lease.renew(ttlMs)) : { value: lease.expiresAtMs };
    const end = this.#endByDeadline(held);
    if (end === undefined && !held.isWarned)
      held.deadlineMs = Math.max(held.deadlineMs, this.#nowMs + ttlMs);
    const place = held.place;
    if (end !== undefined && !held.isWarned) this.#notice(held, false);
    if (lease.kind === "block") return;
    if (end === undefined && !held.isWarned)
      expect(outcome, "L4").toEqual({ value: held.deadlineMs });
    else if (place === "free") expect(outcome).toHaveProperty("thrown");
    else expect(outcome, "L4").toMatchObject({ thrown: { code: codeAfter(end ?? "revoked") } });
  }

  #end(held: Held, isElsewhere: boolean, as: End, call: () => boolean): void {
    const before = this.#endByDeadline(held);
    const isNoticed = held.end !== undefined;
    expect(call(), "L4: exactly one call ends a lease").toBe(before === undefined);
    if (held.place !== "leased") return;
    held.end = before ?? as;
    // Another thread's call is booked at the next tick; the owner's own at once, if it ended the lease or found it due.
    if (!isElsewhere && !isNoticed) this.#conclude(held);
  }

  /** W3: an operation that is refused for the deadline has ended the lease by that. */
  #notice(held: Held, isElsewhere: boolean): void {
    if (held.place !== "leased" || held.end !== undefined) return;
    held.end = this.#endByDeadline(held);
    if (held.end !== undefined && !isElsewhere) this.#conclude(held);
  }

  #revoke(held: Held, lease: MemLease | BlockLease, isElsewhere: boolean, graceMs: number): void {
    if (graceMs === 0) return this.#end(held, isElsewhere, "revoked", () => lease.revoke());
    const before = this.#endByDeadline(held);
    const isFirst = before === undefined && !held.isWarned;
    expect(lease.revoke({ graceMs })).toBe(isFirst);
    if (isFirst) {
      held.isWarned = true;
      held.deadlineMs = Math.min(held.deadlineMs, this.#nowMs + graceMs);
    } else this.#notice(held, isElsewhere);
  }

  // --- use

  #use(op: string, held: Held, lease: MemLease, isElsewhere: boolean): void {
    const isLive = this.#endByDeadline(held) === undefined;
    const outcome = attempt(() => this.#operate(op, held, lease));
    if (isLive && op !== "releaseInside") return expect(outcome).not.toHaveProperty("thrown");
    expect(outcome, "A3: an operation passed after the end").toHaveProperty("thrown");
    if (!isLive) this.#notice(held, isElsewhere);
    // A failed check is an announcement of the thread it failed on.
    if (isElsewhere && !isLive && op !== "releaseInside") this.#announced();
  }

  #operate(op: string, held: Held, lease: MemLease): void {
    switch (op) {
      case "write":
        lease.write(0, new Uint8Array(lease.bytes).fill(held.pattern % 250));
        lease.write(0, new Uint8Array(lease.bytes).fill(held.pattern));
        return;
      case "read":
        expect(lease.read(0, lease.bytes)).toEqual(new Uint8Array(lease.bytes).fill(held.pattern));
        return;
      case "with":
        lease.with(
          (view) => {
            expect(view.every((byte) => byte === held.pattern)).toBe(true);
            view.fill(held.pattern);
          },
          { write: true },
        );
        return;
      case "lend":
        return this.#lend(held, lease);
      case "attach":
        return this.#attach(held, lease);
      case "releaseInside":
        return this.#releaseInside(held);
      default:
    }
  }

  /** As an engine does: the owner pins, whichever thread gets the view. */
  #lend(held: Held, lease: MemLease): void {
    const loan = lease.lend();
    const unpin = (held.lease as MemLease).pin();
    this.#loans.push({ held, loan, unpin, pattern: held.pattern });
    held.loans++;
  }

  #attach(held: Held, lease: MemLease): void {
    const ticket = lease.ticket();
    held.isTicketed = true;
    if (held.handles.length > 3) return;
    held.handles.push({ lease: this.fabric.attachMem(ticket), isElsewhere: false });
    if (ticket.control === undefined) return;
    held.handles.push({ lease: this.#elsewhere.attachMem(ticket), isElsewhere: true });
  }

  /** The owner ends a lease inside its own callback: its bytes are still in use until that returns. */
  #releaseInside(held: Held): void {
    const lease = held.lease as MemLease;
    lease.with(() => {
      held.loans++;
      try {
        this.#end(held, false, "released", () => lease.release());
      } finally {
        held.loans--;
      }
    });
  }

  async #useBlocks(op: string, held: Held, lease: BlockLease): Promise<void> {
    const isLive = this.#endByDeadline(held) === undefined;
    const bytes = new Uint8Array(lease.bytes).fill(held.pattern);
    const outcome = await attemptAsync(
      op === "write" ? lease.write(0, bytes) : lease.readInto(0, bytes),
    );
    if (!isLive) {
      this.#notice(held, false);
      return expect(outcome, "A3").toHaveProperty("thrown");
    }
    expect(outcome).not.toHaveProperty("thrown");
    expect(bytes).toEqual(new Uint8Array(lease.bytes).fill(held.pattern));
  }

  #endLoan(pick: number): void {
    const [entry] = this.#loans.splice(pick % Math.max(1, this.#loans.length), 1);
    if (entry === undefined) return;
    const { held, loan, unpin, pattern } = entry;
    expect(loan.lapsed).toBe(this.#endByDeadline(held) !== undefined);
    expect(loan.view.every((byte) => byte === pattern)).toBe(true);
    loan.end();
    unpin();
    held.loans--;
    if (this.#guard) expect(loan.view.length).toBe(0);
  }

  // --- comparison

  #place(...places: Place[]): Held[] {
    return this.#held.filter(({ place }) => places.includes(place));
  }

  #compare(): void {
    const stats = this.fabric.stats();
    expect(imbalances(stats), "A1: leased + free + quarantined + fenced = capacity").toEqual([]);
    for (const [kind, account] of [
      ["mem", stats.memory],
      ["block", stats.blocks],
    ] as const) {
      const of = (...places: Place[]): Held[] =>
        this.#place(...places).filter(({ lease }) => lease.kind === kind);
      expect(
        [account.leasedBytes, account.quarantinedBytes, account.fencedBytes, account.activeLeases],
        `A1: the ${kind} ledger is the sum over its leases`,
      ).toEqual([
        sum(of("leased")),
        sum(of("quarantined")),
        sum(of("fenced")),
        of("leased").length,
      ]);
    }
    for (const held of this.#held) this.#compareOne(held);
    for (const { loan, pattern } of this.#loans)
      expect(
        loan.view.every((byte) => byte === pattern),
        "lent bytes were handed out",
      ).toBe(true);
  }

  #compareOne(held: Held): void {
    const { lease } = held;
    const end = this.#endByDeadline(held);
    expect(lease.isLive, "A3").toBe(end === undefined);
    // Once its slot has been leased twice more, how a lease ended is forgotten; that it did is not.
    if (held.place !== "free")
      expect(lease.state).toBe(end ?? (held.isWarned ? "warned" : "active"));
    if (end !== undefined) return;
    expect(lease.expiresAtMs).toBe(held.deadlineMs);
    if (lease.kind === "mem")
      expect(
        lease.with((view) => view.reduce((all, byte) => all && byte === held.pattern, true)),
        "A1: live ranges are disjoint",
      ).toBe(true);
  }

  #checkEvents(): void {
    const told = Map.groupBy(this.#events, ({ leaseId }) => leaseId);
    expect(told.size).toBe(this.#held.length);
    for (const { lease, end } of this.#held) {
      const types = (told.get(lease.leaseId) ?? []).map(({ type }) => type);
      const ends = types.filter((type) => ["expired", "released", "revoked"].includes(type));
      expect([types[0], ends, types.at(-1)], types.join()).toEqual(["granted", [end], "reclaimed"]);
    }
  }
}

type Outcome<T> =
  { readonly value: T } | { readonly thrown: { code: string; details: Record<string, unknown> } };

function attempt<T>(run: () => T): Outcome<T> {
  try {
    return { value: run() };
  } catch (thrown) {
    if (!isFabricError(thrown)) throw thrown;
    return { thrown: { code: thrown.code, details: thrown.details } };
  }
}

async function attemptAsync<T>(promise: Promise<T>): Promise<Outcome<T>> {
  const settledOutcome = await promise.then(
    (value) => ({ value }),
    (reason: unknown) => ({ reason }),
  );
  return attempt(() => {
    if ("reason" in settledOutcome) throw settledOutcome.reason;
    return settledOutcome.value;
  });
}

function sum(held: readonly Held[]): number {
  return held.reduce((total, { lease }) => total + lease.bytes, 0);
}

function codeAfter(end: End): string {
  return end === "revoked" ? "REVOKED" : "LEASE_EXPIRED";
}
