/**
 * Memory leases' bytes: arenas per tenant, each with an allocator over 64-byte granules. An arena is reserved when
 * its tenant first leases, is never grown, and stays for the fabric's life; untouched pages cost no memory.
 */
import type { Ledger } from "./ledger.ts";
import { refuse, type Piece, type Pool } from "./pool.ts";
import type { ArenaMemory, MemoryProvider } from "./ports.ts";
import { RangeAllocator } from "./range-allocator.ts";
import type { Tenant } from "./tenant.ts";

/** Bytes of a granule: a cache line, so that two leases never share one. */
export const GRANULE_BYTES = 64;

/** Largest arena, in bytes: a WebAssembly memory is capped at 4 GiB, less the page that its rounding needs. */
const arenaBytesMax = 2 ** 32 - 2 ** 16;

/** What reclaimed bytes are filled with in guard mode until they are leased again. */
export const POISON = 0xdd;

interface Arena {
  readonly memory: ArenaMemory;
  readonly ranges: RangeAllocator;
}

/** Bytes of an arena. */
export interface MemPiece extends Piece {
  readonly arena: Arena;
  /** The allocator's block. */
  readonly block: number;
  /** Byte offset in the arena. */
  readonly offset: number;
}

/** How a memory pool is made. */
export interface MemoryPoolOptions {
  readonly provider: MemoryProvider;
  readonly shared: boolean;
  readonly guard: boolean;
  readonly ledger: Ledger;
}

/** The memory of one fabric. */
export class MemoryPool implements Pool<MemPiece> {
  readonly kind = "mem";
  readonly ledger: Ledger;
  readonly #provider: MemoryProvider;
  readonly #shared: boolean;
  readonly #guard: boolean;
  readonly #arenas = new Map<Tenant, Arena[]>();

  constructor(options: MemoryPoolOptions) {
    this.ledger = options.ledger;
    this.#provider = options.provider;
    this.#shared = options.shared;
    this.#guard = options.guard;
  }

  allocate(tenant: Tenant, asked: number): MemPiece {
    const bytes = Math.ceil(asked / GRANULE_BYTES) * GRANULE_BYTES;
    if (bytes > this.ledger.freeBytes)
      throw refuse("mem", tenant, asked, this.largestFreeBytes(tenant), "capacity");
    const most = tenant.quota.memoryBytes;
    if (most !== undefined && tenant.memoryBytes + bytes > most)
      throw refuse("mem", tenant, asked, this.largestFreeBytes(tenant), "quota");
    for (const arena of this.#arenasOf(tenant)) {
      const block = arena.ranges.allocate(bytes / GRANULE_BYTES);
      if (block < 0) continue;
      const offset = arena.ranges.offsetOf(block) * GRANULE_BYTES;
      // Bytes are zeroed when they come back. Poison takes the zeroes' place until the next lease.
      if (this.#guard) arena.memory.fill(offset, 0, bytes);
      tenant.memoryBytes += bytes;
      return { arena, block, offset, bytes };
    }
    throw refuse("mem", tenant, asked, this.largestFreeBytes(tenant), "fragmented");
  }

  wipe(piece: MemPiece): void {
    piece.arena.memory.fill(piece.offset, this.#guard ? POISON : 0, piece.bytes);
  }

  free(tenant: Tenant, piece: MemPiece): void {
    piece.arena.ranges.free(piece.block);
    tenant.memoryBytes -= piece.bytes;
  }

  largestFreeBytes(tenant: Tenant | undefined): number {
    const quota = tenant?.quota.memoryBytes ?? Infinity;
    const left = Math.min(quota - (tenant?.memoryBytes ?? 0), this.ledger.freeBytes);
    const arenas = tenant === undefined ? undefined : this.#arenas.get(tenant);
    if (arenas === undefined) return Math.max(0, Math.min(left, arenaBytesMax));
    let largest = 0;
    for (const arena of arenas) largest = Math.max(largest, arena.ranges.largestFree() * GRANULE_BYTES);
    return Math.max(0, Math.min(left, largest));
  }

  #arenasOf(tenant: Tenant): readonly Arena[] {
    const known = this.#arenas.get(tenant);
    if (known !== undefined) return known;
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
    this.#arenas.set(tenant, arenas);
    return arenas;
  }
}
