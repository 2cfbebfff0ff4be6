/**
 * Blocks of a block file: leases that outlive their process. The lease words in memory are the authority while this
 * process lives; the table on the disk (`block-table.ts`) is what the next one finds.
 *
 * What is written when:
 *
 * ```
 *  grant      live                                   acknowledged once durable
 *  renewal    live, with the new deadline            the same; memory learns of it afterwards
 *  end        ending                                 at once; then the blocks are made zero, and that is synced; then
 *             free                                   only once this is durable may the blocks be leased again
 * ```
 *
 * Its invariants are in `block-book.ts`, which does the writing.
 */
import { BlockBook } from "./block-book.ts";
import { BlockLease, type BlockAuthority } from "./block-lease.ts";
import { emptyEntry, TEXT_UNITS_MAX, type BlockEntry } from "./block-layout.ts";
import { BlockPool } from "./block-pool.ts";
import { DiskBlocks, type BlockStore } from "./block-store.ts";
import { lostSlot, type BlockTable } from "./block-table.ts";
import type { LeaseRequest } from "./builders.ts";
import type { ControlPlane } from "./control-plane.ts";
import { FabricError, invalidArgument, isFabricError } from "./errors.ts";
import type { LeaseParts } from "./lease-handle.ts";
import { EXPIRED, GENERATION_MAX, isLiveState, WARNED } from "./lease-word.ts";
import { Ledger } from "./ledger.ts";
import type { Lessor } from "./lessor.ts";
import { BLOCK_BYTES, type BlockAccess } from "./ports.ts";
import { RangeAllocator } from "./range-allocator.ts";
import type { Tenant } from "./tenant.ts";
import { formatId, type BlockTicket } from "./ticket.ts";

/** What a durable pool works with, once its fabric stands. */
export interface DurableHost {
  readonly control: ControlPlane;
  readonly lessor: Lessor;
  /** The tenant of a name, however many there are. */
  readonly tenant: (name: string) => Tenant;
}

/** The blocks of one block file. Its lease slots are the fabric's first ones, by the same numbers. */
export class DurablePool extends BlockPool implements BlockAuthority {
  readonly isDurable = true;
  readonly isReadOnly: boolean;
  /** Which file: tickets carry it. */
  readonly storeId: string;
  /** How many leases at a time. */
  readonly slots: number;
  readonly table: BlockTable;
  readonly #store: BlockStore;
  readonly #book: BlockBook;
  readonly #live = new Set<number>();
  #host: DurableHost | undefined;
  #isClosing = false;
  readonly #closed = Promise.withResolvers<void>();
  readonly #mustZero: boolean;

  constructor(store: BlockStore, table: BlockTable, access: BlockAccess) {
    const { numBlocks, slots, storeId } = table.shape;
    const isReadOnly = access === "read";
    const ranges = isReadOnly || numBlocks === 0 ? undefined : new RangeAllocator(numBlocks);
    super(
      new DiskBlocks(store, numBlocks, table.dataAt),
      new Ledger(numBlocks * BLOCK_BYTES),
      ranges,
    );
    this.#store = store;
    this.table = table;
    this.isReadOnly = isReadOnly;
    this.storeId = formatId(storeId);
    this.slots = slots;
    this.#book = new BlockBook(table, store, this.device);
    // A lost record may have held any block that no other holds.
    this.#mustZero = table.damage.some(({ slot }) => slot >= 0);
  }

  /** Takes up what stands in the file, and begins to reclaim what does not any more. Once, before anything is granted. */
  serve(host: DurableHost): void {
    this.#host = host;
    const { control, lessor } = host;
    const pieces = this.#claim();
    const nowMs = lessor.nowMs();
    for (const [slot, entry] of this.#book.all()) {
      const damage = this.table.damageOf(slot);
      if (damage?.kind === "lost") continue;
      const piece = pieces.get(slot);
      if (piece !== undefined) this.#adopt(slot, entry, piece, nowMs);
      else control.seed(slot, entry.generation, entry.id, entry.end);
      // A copy that is lost, or older, is written again, so that later damage of the other one loses nothing.
      if (!this.table.isTwice(slot) && !this.isReadOnly) this.#book.begin(slot);
      if (piece !== undefined || entry.generation >= GENERATION_MAX) continue;
      if (damage === undefined) lessor.slots.addReserved(slot);
      else if (!this.isReadOnly) this.#skip(slot).catch(() => {});
    }
    // Should this fail, the next one to open the file is told again.
    if (!this.isReadOnly) this.table.mendSuperblock().catch(() => {});
    // The slot that is taken first comes last: low numbers go first.
    lessor.slots.reverseReserved();
  }

  /** Refuses what the table cannot hold. @throws FabricError `UNSUPPORTED`, `INVALID_ARGUMENT`. */
  checkRequest({ tenant, label }: LeaseRequest): void {
    this.assertWritable("acquire a block lease");
    if (tenant.length + label.length > TEXT_UNITS_MAX)
      throw invalidArgument(
        "label",
        `at most ${TEXT_UNITS_MAX} UTF-16 units together with the tenant's name, in a block file`,
        tenant.length + label.length,
      );
  }

  override lease(parts: LeaseParts, tenant: Tenant, piece: number): BlockLease {
    const { slot, generation, ids, idAt, expiresAtMs, label } = parts;
    this.#live.add(slot);
    // One that is taken up from the file is known there.
    let entry = this.#book.at(slot);
    if (entry?.generation !== generation || entry.phase === "free") {
      entry = {
        phase: "live",
        end: 0,
        isWarned: false,
        generation,
        id: ids.slice(idAt, idAt + 4),
        first: this.firstOf(piece),
        count: parts.bytes / BLOCK_BYTES,
        deadlineMs: expiresAtMs,
        tenant: tenant.name,
        label,
      };
      this.#book.set(slot, entry);
    }
    const { first, count } = entry;
    return new BlockLease(parts, { device: this.device, first, count, authority: this });
  }

  /** Makes a grant durable; ends the lease if it cannot. @throws FabricError `STORE_UNAVAILABLE`. */
  async granted(lease: BlockLease): Promise<void> {
    try {
      await this.#book.uncut; // D3
      const { first, count } = this.#entryOf(lease);
      if (this.#mustZero) await this.device.zero(first, count);
      await this.#book.save(lease.slot);
    } catch (thrown) {
      lease.revoke();
      throw thrown;
    }
  }

  /** Makes a later deadline durable. @throws FabricError `STORE_UNAVAILABLE`. */
  async extend(lease: BlockLease, deadlineMs: number): Promise<void> {
    const entry = this.#entryOf(lease);
    if (entry.phase !== "live" || entry.generation !== lease.generation) return;
    if (deadlineMs > entry.deadlineMs) this.#book.set(lease.slot, { ...entry, deadlineMs });
    const onDisk = this.table.entry(lease.slot);
    if (onDisk?.generation === lease.generation && onDisk.deadlineMs >= deadlineMs) return;
    await this.#book.save(lease.slot);
  }

  async settle(lease: BlockLease): Promise<void> {
    if (this.isReadOnly || this.#entryOf(lease).generation !== lease.generation) return;
    if (!this.#book.isSaved(lease.slot)) await this.#book.save(lease.slot);
  }

  async refresh(lease: BlockLease): Promise<void> {
    if (this.isReadOnly) this.#follow(lease.slot, await this.table.reread(lease.slot));
  }

  assertOpen(what: string): void {
    if (this.#isClosing)
      throw new FabricError("DISCONNECTED", `Cannot ${what}: the fabric is closed`, {
        storeId: this.storeId,
      });
  }

  assertWritable(what: string): void {
    this.assertOpen(what);
    if (this.isReadOnly)
      throw new FabricError("UNSUPPORTED", `Cannot ${what}: the blocks are open for reading only`, {
        storeId: this.storeId,
        access: "read",
      });
  }

  get isClosing(): boolean {
    return this.#isClosing;
  }

  /** Notes how a lease ended; the disk learns of it now. */
  ended(lease: { readonly slot: number; readonly generation: number }, end: number): void {
    const { slot, generation } = lease;
    this.#live.delete(slot);
    const entry = this.#book.at(slot);
    if (this.isReadOnly || entry?.generation !== generation || entry.phase !== "live") return;
    this.#book.set(slot, { ...entry, phase: "ending", end });
    // Should this fail, the teardown tries it again.
    this.#book.begin(slot);
  }

  override wipe(
    _tenant: Tenant,
    _piece: number,
    _bytes: number,
    slot: number,
  ): void | Promise<void> {
    return this.isReadOnly ? undefined : this.#book.tearDown(slot);
  }

  override free(tenant: Tenant, piece: number, bytes: number): void {
    if (!this.isReadOnly) return super.free(tenant, piece, bytes);
    tenant.blockBytes -= bytes;
  }

  /** Before each tick of the fabric: what other threads renewed reaches the disk; what failed is tried again. */
  tick(nowMs: number): void {
    if (this.#isClosing || this.#host === undefined) return;
    const { control } = this.#host;
    const isSaving = !this.table.isIdle;
    for (const slot of this.#live) {
      const { state, deadlineMs } = control.moment(slot);
      if (!isLiveState(state)) continue;
      if (this.isReadOnly) {
        if (deadlineMs <= nowMs) this.#followNow(slot);
        continue;
      }
      const entry = this.#book.at(slot) as BlockEntry;
      const isWarned = state === WARNED;
      const isNews = deadlineMs > entry.deadlineMs || isWarned !== entry.isWarned;
      // One whose second copy could not be written (B5 of `block-table.ts`) is saved again.
      if (!isNews && (isSaving || this.table.isTwice(slot))) continue;
      if (isNews) this.#book.set(slot, { ...entry, deadlineMs, isWarned });
      // Nobody was promised more than what the disk knows: the next renewal comes, or none does.
      this.#book.begin(slot);
    }
    this.#book.retry(nowMs);
  }

  /** Readies a ticket's lease for attaching. @throws FabricError `CORRUPT_RECORD`, `DISCONNECTED`, `STORE_UNAVAILABLE`. */
  async look(ticket: BlockTicket): Promise<void> {
    this.assertOpen("attach");
    const { slot } = ticket;
    if (slot >= this.slots) return;
    if (this.table.damageOf(slot)?.kind === "lost") throw lostSlot(slot);
    if (!this.isReadOnly || this.#host === undefined) return;
    const entry = await this.table.reread(slot);
    this.#follow(slot, entry);
    const { lessor, control } = this.#host;
    // A lease of a reader's that has ended has no teardown to wait for: its slot is free at once.
    if (lessor.slots.at(slot) !== undefined) return;
    this.#book.set(slot, entry);
    const nowMs = lessor.nowMs();
    const isLive = entry.phase === "live" && entry.deadlineMs > nowMs;
    if (isLive) this.#adopt(slot, entry, slot, nowMs);
    else control.seed(slot, entry.generation, entry.id, entry.end === 0 ? EXPIRED : entry.end);
  }

  /** Why a ticket that reaches no lease does not, where this file knows. */
  whyNot({ slot, generation, leaseId }: BlockTicket): FabricError | undefined {
    const entry = this.#book.at(slot);
    if (entry === undefined || generation > entry.generation) return undefined;
    // The generation that was skipped, because the record that may have granted it is lost.
    if (generation === entry.generation)
      return entry.phase === "free" && entry.end === 0 && generation > 0
        ? lostSlot(slot)
        : undefined;
    return new FabricError(
      "LEASE_EXPIRED",
      "Cannot attach: the lease ended, and its slot was leased anew",
      {
        leaseId,
        generation,
      },
    );
  }

  /** Takes no more operations. What is being saved is saved first; then file and lock are let go. */
  close(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#book.close();
    const letGo = async (): Promise<void> => {
      this.#store.close();
      await this.#store.idle();
      this.#closed.resolve();
    };
    if (this.table.isIdle) void letGo();
    else void this.table.drained().then(letGo);
  }

  /** Resolves once the file has been let go. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  // Takes the blocks of every lease that the file knows out of the free ones; gives their pieces by slot.
  #claim(): Map<number, number> {
    const pieces = new Map<number, number>();
    const taken = this.#book.all().filter(([, { phase }]) => phase !== "free");
    taken.sort(([, a], [, b]) => a.first - b.first);
    if (this.isReadOnly) return new Map(taken.map(([slot]) => [slot, slot]));
    this.#giveUpFreed(taken);
    const gaps: number[] = [];
    let at = 0;
    // From the lower end up: the allocator, new and whole, gives the next units each time.
    const take = (units: number): number => this.ranges?.allocate(units) ?? -1;
    for (const [slot, { phase, first, count }] of taken) {
      if (this.#book.at(slot)?.phase !== phase) continue;
      if (first < at) throw overlap(slot, first, count);
      if (first > at) gaps.push(take(first - at));
      pieces.set(slot, take(count));
      at = first + count;
    }
    const isLost = this.table.damage.some(({ kind }) => kind === "lost");
    const rest = this.ranges?.freeUnits ?? 0;
    if (isLost && rest > 0) gaps.push(take(rest));
    for (const gap of gaps) {
      // A lease whose record is lost may hold any block that no other one holds.
      if (isLost) this.ledger.fencedBytes += (this.ranges?.sizeOf(gap) ?? 0) * BLOCK_BYTES;
      else this.ranges?.free(gap);
    }
    return pieces;
  }

  // D1 says that no two leases have one block. But where the newer copy of a record is lost, which said that the slot was
  // free, the older one still says `ending`, and others may have had its blocks since.
  #giveUpFreed(taken: readonly (readonly [number, BlockEntry])[]): void {
    for (const [slot, entry] of taken) {
      if (entry.phase !== "ending" || this.table.damageOf(slot) === undefined) continue;
      const isSince = taken.some(
        ([other, { first, count }]) =>
          other !== slot && first < entry.first + entry.count && entry.first < first + count,
      );
      if (isSince) this.#book.set(slot, { ...entry, phase: "free" });
    }
  }

  #adopt(slot: number, entry: BlockEntry, piece: number, nowMs: number): void {
    const { lessor, control, tenant } = this.#host as DurableHost;
    const owner = tenant(entry.tenant);
    owner.blockBytes += entry.count * BLOCK_BYTES;
    const isOver = entry.phase === "ending" || entry.deadlineMs <= nowMs;
    lessor.adopt(this, owner, piece, { ...entry, slot, bytes: entry.count * BLOCK_BYTES });
    if (!isOver) return;
    control.end(slot, entry.generation, entry.phase === "ending" ? entry.end : EXPIRED);
    lessor.attend(slot);
  }

  // A free slot's lost copy may have granted the next generation, which nobody may get again. That it is skipped is durable
  // before the slot is granted: a copy that is damaged later brings up this record, or the grant after it.
  async #skip(slot: number): Promise<void> {
    const { control, lessor } = this.#host as DurableHost;
    const { generation } = this.#book.at(slot) as BlockEntry;
    const skipped = { ...emptyEntry, generation: generation + 1 };
    this.#book.set(slot, skipped);
    control.seed(slot, skipped.generation, skipped.id, 0);
    const isSaved = await this.#book.saveInTheEnd(slot);
    if (isSaved && skipped.generation < GENERATION_MAX) lessor.slots.addReserved(slot);
  }

  #entryOf({ slot }: BlockLease): BlockEntry {
    return this.#book.at(slot) as BlockEntry;
  }

  // A tick does not throw for a disk's sake: the lease then ends by the deadline that is known.
  #followNow(slot: number): void {
    try {
      this.#follow(slot, this.table.rereadNow(slot));
    } catch (thrown) {
      if (!isFabricError(thrown)) throw thrown;
    }
  }

  // Brings a reader's lease to what its writer has made of it.
  #follow(slot: number, entry: BlockEntry): void {
    const { control, lessor } = this.#host as DurableHost;
    const record = lessor.slots.at(slot);
    if (record === undefined || record.terminal !== 0) return;
    const { generation } = record.lease;
    const isOver = entry.generation !== generation || entry.phase !== "live";
    if (isOver) {
      const end = entry.generation === generation && entry.end !== 0 ? entry.end : EXPIRED;
      if (control.end(slot, generation, end)) lessor.attend(slot);
      return;
    }
    this.#book.set(slot, entry);
    // By the writer's word, also where the deadline known so far has passed.
    control.extend(slot, generation, control.baseMs, entry.deadlineMs);
  }
}

function overlap(slot: number, first: number, count: number): FabricError {
  const details = { slot, first, count };
  return new FabricError("CORRUPT_RECORD", "Cannot open: two leases have the same blocks", details);
}
