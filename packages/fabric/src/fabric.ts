/** The fabric: what a thread opens to lease memory and blocks. */
import { attach, Attachments, endedOrUnknown, type Threads } from "./attachments.ts";
import { BlockBuilder, MemBuilder, type LeaseRequest } from "./builders.ts";
import { BlockLease } from "./block-lease.ts";
import { openBlocks } from "./block-file.ts";
import type { BlockPool } from "./block-pool.ts";
import type { BlockDamage } from "./block-table.ts";
import { ControlPlane } from "./control-plane.ts";
import { STOP_AT } from "./control-layout.ts";
import { DurablePool } from "./durable-pool.ts";
import { FabricError, invalidArgument } from "./errors.ts";
import type { FabricPorts, Keeper } from "./fabric-ports.ts";
import { FabricEvents, type FabricEvent, type Unsubscribe } from "./events.ts";
import { resolveOptions, type FabricOptions, type ResolvedOptions } from "./fabric-options.ts";
import { Ledger, type ResourceStats } from "./ledger.ts";
import { TTL_MAX_MS, type LeaseSite } from "./lease-handle.ts";
import { Lessor, type ReclaimSummary } from "./lessor.ts";
import { MemLease, regionOf } from "./mem-lease.ts";
import { MemoryPool } from "./memory-pool.ts";
import { type ArenaMemory, type Timer } from "./ports.ts";
import { Tenant, TENANTS_MAX } from "./tenant.ts";
import { eachAttached, forgetThread } from "./thread-registry.ts";
import {
  checkAddress,
  checkTicket,
  formatId,
  parseId,
  type BlockTicket,
  type FabricTicket,
  type LeaseAddress,
  type MemTicket,
  elsewhere,
} from "./ticket.ts";

/** How long `close` waits. */
export interface CloseOptions {
  /** How long leases may go on by themselves before they are revoked, in milliseconds from now. Default 0. */
  readonly deadlineMs?: number;
}

/** What `close` left. All zero when every byte went back. */
export interface CloseSummary {
  /** Leases revoked because they did not end in time. */
  readonly revoked: number;
  /** Ended leases whose bytes a thread may still be touching. */
  readonly pending: number;
  readonly pendingBytes: number;
}

/** The accounts of a fabric. */
export interface FabricStats {
  readonly memory: ResourceStats;
  readonly blocks: ResourceStats;
}

// By the site of their leases.
const fabrics = new WeakMap<LeaseSite, Fabric>();

/** The fabric that granted a lease, on its owner's thread; undefined on any other. For engines. */
export function fabricOf(lease: MemLease): Fabric | undefined {
  return fabrics.get(regionOf(lease).site);
}

/** How often `close` looks, and how long it waits for threads after the last lease ended, in milliseconds. */
const closeStepMs = 5;
const closeQuietMs = 1_000;

/**
 * Leases over memory and blocks. The thread that opens a fabric owns it: it grants and reclaims; other threads
 * attach by ticket.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fabric } from "selvage";
 *
 * using fabric = Fabric.open({ memoryBytes: 1 << 20, tick: "manual" });
 * const lease = fabric.mem().minBytes(64).leaseMs(500).label("scratch").acquire();
 * fabric.tick(lease.expiresAtMs);
 * assert.equal(lease.state, "expired");
 * assert.equal(fabric.stats().memory.freeBytes, 1 << 20);
 * ```
 */
export class Fabric implements Disposable, AsyncDisposable {
  /** 128 unguessable bits as 32 hexadecimal digits. */
  readonly fabricId: string;
  /** What the fabric was opened with, defaults filled in. */
  readonly options: ResolvedOptions;
  /** The shared words behind the leases, for engines that renew or watch them. */
  readonly control: ControlPlane;
  /** The host's timers, for engines that wait. */
  readonly timer: Timer;
  readonly #ports: FabricPorts;
  readonly #events = new FabricEvents();
  readonly #lessor: Lessor;
  readonly #memory: MemoryPool;
  readonly #blocks: BlockPool;
  // The same, where blocks are in a file.
  readonly #durable: DurablePool | undefined;
  readonly #tenants = new Map<string, Tenant>();
  readonly #attachments: Attachments;
  readonly #stopTicking: () => void;
  readonly #expectThread: (nonce: number) => void;
  readonly #threads: ReturnType<Threads["host"]> | undefined;
  #keeper: Keeper | undefined;
  #isClosed = false;
  #hasEnded = false;

  /** For `open`. */
  protected constructor(options: FabricOptions, ports: FabricPorts) {
    this.options = resolveOptions(options);
    this.#ports = ports;
    this.timer = ports.timer;
    const { maxLeases, shared, guard, tick } = this.options;
    const id = new Int32Array(4);
    ports.random.fill(id);
    this.fabricId = formatId(id);
    this.#blocks = openBlocks(this.options, options, ports);
    this.#durable = this.#blocks instanceof DurablePool ? this.#blocks : undefined;
    const reservedSlots = this.#durable?.slots ?? 0;
    const slots = maxLeases + reservedSlots;
    const memory = this.#reserveControl(slots);
    const baseMs = Math.floor(ports.clock.nowMs());
    const manual = tick === "manual";
    const handle = { fabricId: this.fabricId, baseMs, slots, manual, guard };
    this.control = new ControlPlane(memory, handle);
    this.#memory = new MemoryPool({
      provider: ports.memory,
      shared,
      guard,
      ledger: new Ledger(this.options.memoryBytes),
    });
    this.#threads = ports.threads?.host(this.fabricId, (nonce) => this.#threadExited(nonce));
    this.#expectThread = (nonce) => this.#threads?.expect(nonce);
    this.#lessor = new Lessor({
      control: this.control,
      events: this.#events,
      random: ports.random,
      guard,
      fenceAfterMs: this.options.fenceAfterMs,
      ownerThread: ports.threads?.threadId ?? 0,
      clock: ports.clock,
      timer: ports.timer,
      nudge: () => this.#threads?.nudge(),
      reservedSlots,
    });
    this.#attachments =
      ports.attachments ??
      new Attachments({
        clock: ports.clock,
        timer: ports.timer,
        random: ports.random,
        memory: ports.memory,
        threads: ports.threads,
      });
    this.#stopTicking = manual
      ? () => {}
      : ports.timer.every(this.options.tickMs, () => void this.tick(ports.clock.nowMs()));
    fabrics.set(this.#lessor, this);
    this.#takeUp();
  }

  /**
   * Opens a fabric owned by this thread. Memory is reserved when it is first leased. With `blockFile`, takes up the leases
   * that stand in the file and begins to reclaim the others.
   * @throws FabricError `INVALID_ARGUMENT`, `CAPACITY_EXCEEDED` (the host has no room for the lease table); of a block file
   * also `CONFLICT` (another writer, or made with another number of blocks), `CORRUPT_RECORD` (not one, or damaged),
   * `NOT_FOUND`, `STORE_UNAVAILABLE`.
   */
  static open(options: FabricOptions, ports: FabricPorts): Fabric {
    return new Fabric(options, ports);
  }

  /** What another thread of the process attaches by, before it has any lease's ticket. */
  ticket(): FabricTicket {
    const { control } = this;
    const ownerThread = this.#ports.threads?.threadId ?? 0;
    return { fabric: control.handle, control: control.memory.handle, ownerThread };
  }

  /** Asks for memory. */
  mem(): MemBuilder {
    return new MemBuilder((request) => this.#acquireMem(request));
  }

  /** Asks for blocks. */
  block(): BlockBuilder {
    return new BlockBuilder((request) => this.#acquireBlock(request));
  }

  /**
   * Reaches a memory lease by its ticket: one of this fabric, or of another thread's.
   * @throws FabricError `LEASE_EXPIRED`, `REVOKED`, `NOT_FOUND`, `INVALID_ARGUMENT`, `UNSUPPORTED`.
   */
  attachMem(ticket: MemTicket): MemLease {
    checkTicket(ticket, "mem");
    if (ticket.fabric.fabricId !== this.fabricId) return this.#attachments.attachMem(ticket);
    const record = this.#lessor.slots.at(ticket.slot);
    if (record?.lease instanceof MemLease && record.lease.generation === ticket.generation) {
      // From the fabric's own books, not from the ticket: a ticket with other figures must not reach other bytes.
      const { memory, offset } = this.#memory.regionOf(record.tenant, record.piece);
      return attach(this.#lessor, { ...ticket, offset, bytes: record.lease.bytes }, memory);
    }
    throw endedOrUnknown(this.control, ticket);
  }

  /** Reaches a block lease by its ticket. Errors as {@link attachMem}, by rejection. */
  async attachBlock(ticket: BlockTicket): Promise<BlockLease> {
    checkTicket(ticket, "block");
    const durable = this.#durable;
    if (ticket.fabricId !== (durable?.storeId ?? this.fabricId))
      throw elsewhere(ticket, durable?.storeId);
    if (durable !== undefined) await durable.look(ticket);
    const record = this.#lessor.slots.at(ticket.slot);
    const isHere =
      record?.lease instanceof BlockLease &&
      record.lease.generation === ticket.generation &&
      this.control.hasId(ticket.slot, parseId(ticket.leaseId));
    if (!isHere || !record.lease.isLive)
      throw durable?.whyNot(ticket) ?? endedOrUnknown(this.control, ticket);
    return record.lease;
  }

  /**
   * The lease that an address names, a locator's or a ticket's, if this fabric has granted it and it stands. An address
   * grants nothing by itself: whoever has the fabric has the authority.
   * @throws FabricError `INVALID_ARGUMENT`, `NOT_FOUND`, `LEASE_EXPIRED`, `REVOKED`.
   */
  leaseAt(address: LeaseAddress & { readonly kind: "queue" | "mem" }): MemLease;
  leaseAt(address: LeaseAddress & { readonly kind: "block" }): BlockLease;
  leaseAt(address: LeaseAddress): MemLease | BlockLease;
  leaseAt(address: LeaseAddress & { readonly kind?: string }): MemLease | BlockLease {
    const { kind, leaseId, slot, generation } = checkAddress(address);
    const lease = this.#lessor.slots.at(slot)?.lease;
    const isHere = lease?.generation === generation && this.control.hasId(slot, parseId(leaseId));
    if (lease === undefined || !isHere || !lease.isLive)
      throw endedOrUnknown(this.control, address);
    if (kind !== undefined && (kind === "block") !== (lease.kind === "block"))
      throw invalidArgument("address.kind", `"${lease.kind}"`, kind);
    return lease;
  }

  /** The leases that stand, in no order. */
  leases(): readonly (MemLease | BlockLease)[] {
    const live: (MemLease | BlockLease)[] = [];
    for (const record of this.#lessor.slots.records())
      if (record.terminal === 0) live.push(record.lease);
    return live;
  }

  /** Records of the block file that could not be read when it was opened. None, unless the disk has failed. */
  blockDamage(): readonly BlockDamage[] {
    return this.#durable?.table.damage ?? [];
  }

  /** The lease of an id, if it stands and its id was ever asked for. */
  find(leaseId: string): MemLease | BlockLease | undefined {
    const record = this.#lessor.slots.find(leaseId);
    return record === undefined || record.terminal !== 0 ? undefined : record.lease;
  }

  /**
   * Raises the clock to `nowMs` (never back), ends what is due and gives bytes back. With `tick: "auto"` nobody has
   * to call it. Costs what it ends, not what it holds, and a look at the thread table.
   */
  tick(nowMs: number): ReclaimSummary {
    // Further on, a deadline of the longest TTL would not fit its lease's word.
    const latestMs = this.control.handle.baseMs + TTL_MAX_MS - 1;
    if (!Number.isFinite(nowMs) || nowMs > latestMs)
      throw invalidArgument("nowMs", `milliseconds up to ${latestMs}`, nowMs);
    this.#durable?.tick(nowMs);
    if (this.#threads !== undefined) eachAttached(this.control, this.#expectThread);
    const summary = this.#lessor.tick(nowMs);
    const failure = this.#events.takeFailure();
    if (failure !== undefined) throw failure;
    return summary;
  }

  /** Where the bytes are, and how leases ended. `leased + free + quarantined + fenced = capacity`, always. */
  stats(): FabricStats {
    // Before its first lease the default tenant has its quota, and no arenas.
    const tenant = this.#tenants.get("default") ?? this.#newTenant("default");
    return {
      memory: this.#memory.ledger.stats(this.#memory.largestFreeBytes(tenant)),
      blocks: this.#blocks.ledger.stats(this.#blocks.largestFreeBytes(tenant)),
    };
  }

  /** Calls `listener` with every event, synchronously. What it throws, `tick` rethrows. */
  subscribe(listener: (event: FabricEvent) => void): Unsubscribe {
    if (typeof listener !== "function") throw invalidArgument("listener", "a function", listener);
    return this.#events.subscribe(listener);
  }

  /** Real time, never behind the fabric's clock; the fabric's clock where it is ticked by hand. */
  nowMs(): number {
    return this.#lessor.nowMs();
  }

  /** The thread beside this one that advances the clock, if the host has one. Starts it. */
  keeper(): Keeper | undefined {
    const { tick, shared } = this.options;
    if (tick === "manual" || !shared || this.#isClosed) return undefined;
    this.#keeper ??= this.#ports.keeper?.(this.control);
    return this.#keeper?.isGone === true ? undefined : this.#keeper;
  }

  /** Notes that the owner's thread is at work, for renewals that depend on it. */
  progress(): void {
    this.#lessor.pulse.progress();
  }

  /** Tries the teardown of a lease again whose bytes could not be zeroed. @throws FabricError `INVALID_ARGUMENT`. */
  unfence(leaseId: string): void {
    this.#lessor.unfence(leaseId);
  }

  /**
   * Closes the fabric: no more grants; leases may end by themselves until `deadlineMs` from now; the rest is revoked, but
   * for leases in a block file: those stand, for whoever opens it next. Its file and its lock have then been let go.
   * Rejects with what a subscriber threw. Always finishes: at most about a second after the deadline, and says what it left.
   */
  async close(options: CloseOptions = {}): Promise<CloseSummary> {
    const deadlineMs = options.deadlineMs ?? 0;
    if (typeof deadlineMs !== "number" || !(deadlineMs >= 0))
      throw invalidArgument("deadlineMs", "milliseconds from 0 up", deadlineMs);
    const wasClosed = this.#isClosed;
    this.#isClosed = true;
    const { slots } = this.#lessor;
    const isOver = (): boolean => this.leases().every(({ slot }) => slots.isReserved(slot));
    if (!wasClosed) await this.#stepUntil(deadlineMs, isOver);
    const revoked = this.#lessor.revokeAll();
    await this.#stepUntil(closeQuietMs, () => this.#lessor.pending === 0);
    this.#end();
    await this.#durable?.closed;
    const failure = this.#events.takeFailure();
    if (failure !== undefined) throw failure;
    const { memory, blocks } = this.stats();
    const pendingBytes =
      memory.quarantinedBytes + memory.fencedBytes + blocks.quarantinedBytes + blocks.fencedBytes;
    return { revoked, pending: this.#lessor.pending, pendingBytes };
  }

  /**
   * Closes at once: every lease is revoked, but for those in a block file. Bytes that another thread may be touching are
   * not waited for. A block file that is being written is let go once that is done: `close()` waits for it.
   */
  [Symbol.dispose](): void {
    this.#isClosed = true;
    this.#lessor.revokeAll();
    this.#end();
  }

  /** As `close()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // Steps count as time too: where time is ticked by hand, the clock alone would never bring the end.
  async #stepUntil(waitMs: number, isDone: () => boolean): Promise<void> {
    const { clock } = this.#ports;
    const startMs = clock.nowMs();
    for (let steps = 0; !isDone(); steps++) {
      if (Math.max(clock.nowMs() - startMs, steps * closeStepMs) >= waitMs) return;
      await this.#step();
    }
  }

  // What a subscriber throws meanwhile rejects `close`, once it has closed.
  #step(): Promise<void> {
    return new Promise((resolve) => {
      this.#ports.timer.after(closeStepMs, () => {
        const nowMs =
          this.options.tick === "auto" ? this.#ports.clock.nowMs() : this.control.nowMs();
        this.#lessor.tick(nowMs);
        resolve();
      });
    });
  }

  #end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.control.words.store(STOP_AT, 1);
    this.#stopTicking();
    this.#keeper?.stop();
    this.#keeper = undefined;
    this.#threads?.close();
    (this.#durable ?? this.#blocks.device).close();
  }

  #acquireMem(request: LeaseRequest): MemLease {
    return this.#lessor.grant(this.#memory, this.#admit(request), request);
  }

  async #acquireBlock(request: LeaseRequest): Promise<BlockLease> {
    this.#durable?.checkRequest(request);
    const lease = this.#lessor.grant(this.#blocks, this.#admit(request), request);
    if (this.#durable !== undefined) await this.#durable.granted(lease);
    return lease;
  }

  // Takes up the leases of the block file, if there is one.
  #takeUp(): void {
    try {
      this.#durable?.serve({
        control: this.control,
        lessor: this.#lessor,
        tenant: (name) => this.#tenants.get(name) ?? this.#keepTenant(name),
      });
    } catch (thrown) {
      this[Symbol.dispose]();
      throw thrown;
    }
  }

  #reserveControl(slots: number): ArenaMemory {
    const { shared } = this.options;
    try {
      return this.#ports.memory.reserve(ControlPlane.bytesFor(slots), { shared });
    } catch (thrown) {
      (this.#durable ?? this.#blocks.device).close();
      throw thrown;
    }
  }

  #admit(request: LeaseRequest): Tenant {
    if (this.#isClosed)
      throw new FabricError("DISCONNECTED", "Cannot acquire a lease: the fabric is closed", {
        fabricId: this.fabricId,
      });
    if (this.#keeper === undefined) this.keeper();
    return this.#tenants.get(request.tenant) ?? this.#admitTenant(request.tenant);
  }

  #admitTenant(name: string): Tenant {
    if (this.#tenants.size === TENANTS_MAX)
      throw new FabricError(
        "CAPACITY_EXCEEDED",
        `Cannot admit tenant "${name}": too many tenants`,
        {
          tenantsMax: TENANTS_MAX,
        },
      );
    return this.#keepTenant(name);
  }

  #keepTenant(name: string): Tenant {
    const tenant = this.#newTenant(name);
    this.#tenants.set(name, tenant);
    return tenant;
  }

  #newTenant(name: string): Tenant {
    const { tenants } = this.options;
    const quota = Object.hasOwn(tenants, name) ? tenants[name] : undefined;
    return new Tenant(name, this.#tenants.size, quota ?? {});
  }

  #threadExited(nonce: number): void {
    forgetThread(this.control, nonce);
    if (!this.#isClosed && this.options.tick === "auto") this.tick(this.#ports.clock.nowMs());
  }
}
