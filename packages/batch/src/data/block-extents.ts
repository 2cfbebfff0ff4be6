/**
 * Bytes on leased blocks: a few large leases, chunks, in which values lie side by side, so that ten thousand values cost
 * a few renewals.
 *
 * Invariant X1: what is read is what was written, by its length and checksum, or `CORRUPT_RECORD`.
 * Invariant X2: a chunk with nothing in it is given back, but for the one that is filled next; `close` gives all back.
 */
import {
  assert,
  BLOCK_BYTES,
  checksum,
  FabricError,
  isFabricError,
  RangeAllocator,
  type BlockLease,
  type Fabric,
} from "@selvage/fabric";

/** Blocks of a chunk, unless a value needs more or there are not as many: 1 MiB. */
const chunkBlocksDefault = 2_048;

/** A value on blocks. */
export interface Extent {
  readonly chunk: Chunk;
  readonly piece: number;
  /** First block in the chunk. */
  readonly first: number;
  readonly bytes: number;
  readonly check: readonly [number, number];
}

/** One lease, and which of its blocks are taken. */
export interface Chunk {
  readonly lease: BlockLease;
  readonly ranges: RangeAllocator;
  /** Stops its renewals. */
  readonly unhold: () => void;
  extents: number;
}

/** What extents are made of. */
export interface ExtentOptions {
  readonly fabric: Fabric;
  readonly ttlMs: number;
  readonly label: string;
  /** Has a new chunk counted and renewed; gives what stops that. */
  readonly hold: (lease: BlockLease) => () => void;
}

/** Values on blocks. */
export class BlockExtents {
  readonly #options: ExtentOptions;
  readonly #chunks = new Set<Chunk>();
  // Chunks are acquired one after the other: else all who find none would acquire one each.
  #acquiring: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(options: ExtentOptions) {
    this.#options = options;
  }

  /** Leases taken so far that stand. */
  get leases(): BlockLease[] {
    return [...this.#chunks].map(({ lease }) => lease);
  }

  /**
   * Puts a copy of `bytes` on blocks; the copy is made before this returns.
   * @throws FabricError `CAPACITY_EXCEEDED` (no blocks left), `STORE_UNAVAILABLE`, `LEASE_EXPIRED`, `DISCONNECTED`.
   */
  async write(bytes: Uint8Array): Promise<Extent> {
    // After the first wait nothing of `bytes` is there, not even its length: it may be a view whose loan has ended.
    const { length } = bytes;
    const blocks = blocksOf(length);
    const padded = new Uint8Array(blocks * BLOCK_BYTES);
    padded.set(bytes);
    const { chunk, piece } = this.#take(blocks) ?? (await this.#takeAnew(blocks));
    const extent: Extent = {
      chunk,
      piece,
      first: chunk.ranges.offsetOf(piece),
      bytes: length,
      check: checksum(padded, 0, length),
    };
    try {
      await chunk.lease.write(extent.first, padded);
      return extent;
    } catch (thrown) {
      this.free(extent);
      throw thrown;
    }
  }

  /** Reads a value into an array of its own. @throws FabricError `CORRUPT_RECORD`, what the blocks throw. */
  async read({ chunk, first, bytes, check }: Extent): Promise<Uint8Array> {
    const padded = new Uint8Array(blocksOf(bytes) * BLOCK_BYTES);
    await chunk.lease.readInto(first, padded);
    const value = padded.subarray(0, bytes);
    const [one, two] = checksum(value);
    if (one === check[0] && two === check[1]) return value;
    throw new FabricError("CORRUPT_RECORD", "An output on blocks is not what was written", {
      leaseId: chunk.lease.leaseId,
      first,
      bytes,
    });
  }

  /** Gives a value's blocks back. */
  free({ chunk, piece }: Extent): void {
    if (!this.#chunks.has(chunk)) return;
    chunk.ranges.free(piece);
    chunk.extents--;
    if (chunk.extents === 0 && this.#chunks.size > 1) this.#drop(chunk);
  }

  /** Takes a lease over that holds values already: {@link claim} says where. */
  adopt(lease: BlockLease): Chunk {
    return this.#add(lease);
  }

  /**
   * Claims values where an earlier life left them, all of a chunk's at once, before anything is written into it.
   * Undefined where they are beyond the chunk or over each other: then they are not what they seem.
   */
  claim(chunk: Chunk, places: readonly ClaimedPlace[]): Extent[] | undefined {
    assert(chunk.extents === 0, "a chunk is claimed before it is used", chunk.extents);
    const sorted = places.toSorted((a, b) => a.first - b.first);
    let at = 0;
    for (const { first, bytes } of sorted) {
      if (first < at) return undefined;
      at = first + blocksOf(bytes);
    }
    if (at > chunk.lease.numBlocks) return undefined;
    const gaps: number[] = [];
    const extents: Extent[] = [];
    at = 0;
    // From the lower end up: the allocator, new and whole, gives the next blocks each time.
    for (const { first, bytes, check } of sorted) {
      if (first > at) gaps.push(chunk.ranges.allocate(first - at));
      const piece = chunk.ranges.allocate(blocksOf(bytes));
      extents.push({ chunk, piece, first, bytes, check });
      at = first + blocksOf(bytes);
    }
    for (const gap of gaps) chunk.ranges.free(gap);
    chunk.extents = extents.length;
    return extents;
  }

  /** Resolves once what was written survives a crash. */
  async flush(): Promise<void> {
    const [chunk] = this.#chunks;
    await chunk?.lease.flush();
  }

  /** Gives every block back. Idempotent. */
  close(): void {
    this.#isClosed = true;
    for (const chunk of this.#chunks) this.#drop(chunk);
  }

  /** Stops renewing, and leaves the leases as they are. */
  abandon(): void {
    this.#isClosed = true;
    for (const chunk of this.#chunks) chunk.unhold();
    this.#chunks.clear();
  }

  #take(blocks: number): { chunk: Chunk; piece: number } | undefined {
    for (const chunk of this.#chunks) {
      const piece = chunk.ranges.freeUnits < blocks ? -1 : chunk.ranges.allocate(blocks);
      if (piece < 0) continue;
      chunk.extents++;
      return { chunk, piece };
    }
    return undefined;
  }

  #takeAnew(blocks: number): Promise<{ chunk: Chunk; piece: number }> {
    const taking = this.#acquiring.then(async () => {
      // Whoever came before may have made room for both.
      const taken = this.#take(blocks);
      if (taken !== undefined) return taken;
      this.#add(await this.#acquire(blocks));
      return this.#take(blocks) as { chunk: Chunk; piece: number };
    });
    this.#acquiring = taking.catch(() => {});
    return taking;
  }

  async #acquire(blocks: number): Promise<BlockLease> {
    const { fabric, ttlMs, label } = this.#options;
    const builder = fabric.block().leaseMs(ttlMs).label(label);
    if (blocks < chunkBlocksDefault)
      try {
        return await builder.minBlocks(chunkBlocksDefault).acquire();
      } catch (thrown) {
        if (!isFull(thrown)) throw thrown;
      }
    return builder.minBlocks(blocks).acquire();
  }

  #add(lease: BlockLease): Chunk {
    if (this.#isClosed) {
      lease.release();
      throw new FabricError("DISCONNECTED", "Cannot write to blocks: the run is over");
    }
    const ranges = new RangeAllocator(lease.numBlocks);
    const chunk: Chunk = { lease, ranges, unhold: this.#options.hold(lease), extents: 0 };
    this.#chunks.add(chunk);
    return chunk;
  }

  #drop(chunk: Chunk): void {
    this.#chunks.delete(chunk);
    chunk.unhold();
    chunk.lease.release();
  }
}

/** Where an earlier life says that a value is. */
export interface ClaimedPlace {
  readonly first: number;
  readonly bytes: number;
  readonly check: readonly [number, number];
}

/** True for the refusal of a fabric that has no room. */
export function isFull(thrown: unknown): boolean {
  return isFabricError(thrown) && thrown.code === "CAPACITY_EXCEEDED";
}

// An empty value has a block, too: so every value has a place.
function blocksOf(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / BLOCK_BYTES));
}
