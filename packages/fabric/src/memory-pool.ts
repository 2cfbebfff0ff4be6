/**
 * Memory leases' bytes: arenas per tenant, each with an allocator over 64-byte granules. An arena is reserved when
 * its tenant first leases, is never grown, and stays for the fabric's life; untouched pages cost no memory.
 */
import type { LeaseParts } from "./lease-handle.ts";
import type { Ledger } from "./ledger.ts";
import { MemLease } from "./mem-lease.ts";
import { refuse, type Pool } from "./pool.ts";
import type { ArenaMemory, MemoryProvider } from "./ports.ts";
import { RangeAllocator } from "./range-allocator.ts";
import type { Tenant } from "./tenant.ts";

/** Bytes of a granule: a cache line, so that two leases never share one. */
export const GRANULE_BYTES = 64;

/** Largest arena, in bytes: a WebAssembly memory is capped at 4 GiB, less the page that its rounding needs. */
const arenaBytesMax = 2 ** 32 - 2 ** 16;

/** What reclaimed bytes are filled with in guard mode until they are leased again. */
export const POISON = 0xdd;

/** A piece is the allocator's block, plus this many for each arena of the tenant before its own. */
const ARENA_STRIDE = 2 ** 27;

interface Arena {
  readonly memory: ArenaMemory;
  readonly ranges: RangeAllocator;
}

/** How a memory pool is made. */
export interface MemoryPoolOptions {
  readonly provider: MemoryProvider;
  readonly shared: boolean;
  readonly guard: boolean;
  readonly ledger: Ledger;
}

/** The memory of one fabric. */
export class MemoryPool implements Pool<MemLease> {
  readonly kind = "mem";
  readonly ledger: Ledger;
  readonly #provider: MemoryProvider;
  readonly #shared: boolean;
  readonly #guard: boolean;
  // By the tenant's index: a grant and a teardown look here, and an array is found by one load.
  readonly #arenas: (readonly Arena[] | undefined)[] = [];

  constructor(options: MemoryPoolOptions) {
    this.ledger = options.ledger;
    this.#provider = options.provider;
    this.#shared = options.shared;
    this.#guard = options.guard;
  }

  roundUp(bytes: number): number {
    return Math.ceil(bytes / GRANULE_BYTES) * GRANULE_BYTES;
  }

  allocate(tenant: Tenant, asked: number): number {
    const bytes = this.roundUp(asked);
    if (bytes > this.ledger.freeBytes)
      throw refuse("mem", tenant, asked, this.largestFreeBytes(tenant), "capacity");
    const most = tenant.quota.memoryBytes;
    if (most !== undefined && tenant.memoryBytes + bytes > most)
      throw refuse("mem", tenant, asked, this.largestFreeBytes(tenant), "quota");
    const arenas = this.#arenas[tenant.index] ?? this.#reserve(tenant);
    for (let index = 0; index < arenas.length; index++) {
      const { memory, ranges } = arenas[index] as Arena;
      const block = ranges.allocate(bytes / GRANULE_BYTES);
      if (block < 0) continue;
      // Bytes are zeroed when they come back. Poison takes the zeroes' place until the next lease.
      if (this.#guard) memory.fill(ranges.offsetOf(block) * GRANULE_BYTES, 0, bytes);
      tenant.memoryBytes += bytes;
      return index * ARENA_STRIDE + block;
    }
    throw refuse("mem", tenant, asked, this.largestFreeBytes(tenant), "fragmented");
  }

  lease(parts: LeaseParts, tenant: Tenant, piece: number): MemLease {
    const { memory, offset } = this.regionOf(tenant, piece);
    return new MemLease(parts, memory, offset);
  }

  /** Where a piece is: its arena's memory, and the byte offset in it. */
  regionOf(tenant: Tenant, piece: number): { memory: ArenaMemory; offset: number } {
    const { memory, ranges } = this.#arenaOf(tenant, piece);
    return { memory, offset: ranges.offsetOf(piece % ARENA_STRIDE) * GRANULE_BYTES };
  }

  wipe(tenant: Tenant, piece: number, bytes: number): void {
    const { memory, offset } = this.regionOf(tenant, piece);
    memory.fill(offset, this.#guard ? POISON : 0, bytes);
  }

  free(tenant: Tenant, piece: number, bytes: number): void {
    this.#arenaOf(tenant, piece).ranges.free(piece % ARENA_STRIDE);
    tenant.memoryBytes -= bytes;
  }

  largestFreeBytes(tenant: Tenant | undefined): number {
    const quota = tenant?.quota.memoryBytes ?? Infinity;
    const most = Math.min(quota - (tenant?.memoryBytes ?? 0), this.ledger.freeBytes);
    // Whole granules: what a quota leaves of one cannot be leased.
    const left = Math.floor(most / GRANULE_BYTES) * GRANULE_BYTES;
    const arenas = tenant === undefined ? undefined : this.#arenas[tenant.index];
    if (arenas === undefined) return Math.max(0, Math.min(left, arenaBytesMax));
    let largest = 0;
    for (const arena of arenas)
      largest = Math.max(largest, arena.ranges.largestFree() * GRANULE_BYTES);
    return Math.max(0, Math.min(left, largest));
  }

  #arenaOf(tenant: Tenant, piece: number): Arena {
    return this.#arenas[tenant.index]?.[Math.floor(piece / ARENA_STRIDE)] as Arena;
  }

  #reserve(tenant: Tenant): readonly Arena[] {
    const arenas: Arena[] = [];
    let left = Math.min(tenant.quota.memoryBytes ?? Infinity, this.ledger.capacityBytes);
    while (left > 0) {
      const byteLength = Math.min(left, arenaBytesMax);
      const units = Math.floor(byteLength / GRANULE_BYTES);
      if (units === 0) break;
      const memory = this.#provider.reserve(units * GRANULE_BYTES, { shared: this.#shared });
      arenas.push({ memory, ranges: new RangeAllocator(units) });
      left -= byteLength;
    }
    this.#arenas[tenant.index] = arenas;
    return arenas;
  }
}
