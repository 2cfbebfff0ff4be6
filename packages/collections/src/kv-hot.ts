/**
 * The hot tier: values in a memory lease, the ones used longest ago leaving first. It is a cache. What is lost with the
 * lease, or damaged, is read again from the cold tier; and each value carries the sequence of its put, and which blocks it
 * is of, so that one that another store has left is never taken for one of this one's.
 */
import { isFabricError, rawCodec, regionOf, type MemLease } from "@selvage/fabric";
import { FabricHashMap } from "./hash-map.ts";
import { stringCodec } from "./slot-codecs.ts";

/** Slots of the hot tier. */
export interface HotShape {
  readonly keyBytes: number;
  readonly valueBytes: number;
}

/** Bytes before each value: the sequence of its put, a double, and a hash of its blocks' lease. */
const STAMP_BYTES = 16;

/** The hot tier of one store. */
export class HotTier {
  evictions = 0;
  /** How often it was found damaged and begun anew. */
  rebuilds = 0;
  /** True once the lease has ended: everything comes from the cold tier. */
  isLost = false;
  readonly #lease: MemLease;
  readonly #shape: HotShape;
  readonly #owner: number;
  #map: FabricHashMap<string, Uint8Array>;
  // Keys by their last use: the first one was used longest ago.
  readonly #recency = new Map<string, true>();

  /**
   * Opens the tier of the store on the blocks `owner`, on a lease that is blank, or was a hot tier before.
   * @throws FabricError `CONFLICT` (the lease holds something else), `CAPACITY_EXCEEDED`, `LEASE_EXPIRED`, `REVOKED`.
   */
  constructor(lease: MemLease, shape: HotShape, owner: string) {
    this.#lease = lease;
    this.#owner = hashOf(owner);
    this.#shape = { ...shape, valueBytes: shape.valueBytes + STAMP_BYTES };
    try {
      this.#map = this.#make();
    } catch (thrown) {
      if (!isDamage(thrown)) throw thrown;
      this.#map = this.#remake();
    }
  }

  get size(): number {
    return this.#recency.size;
  }

  /** Drops what `isCurrent` does not know, as another store may have left it. */
  reconcile(isCurrent: (key: string, sequence: number) => boolean): void {
    this.#guard(() => {
      for (const [key, bytes] of this.#map) {
        if (isCurrent(key, this.#sequenceOf(bytes))) this.#recency.set(key, true);
        else this.#map.delete(key);
      }
    });
  }

  /** The value of the put numbered `sequence`, if it is here. */
  get(key: string, sequence: number): Uint8Array | undefined {
    if (!this.#recency.has(key)) return undefined;
    return this.#guard(() => {
      const bytes = this.#map.get(key);
      if (bytes === undefined || this.#sequenceOf(bytes) !== sequence) {
        this.#recency.delete(key);
        return undefined;
      }
      this.#use(key);
      return bytes.subarray(STAMP_BYTES);
    });
  }

  /** Keeps a value, if it fits a slot; else forgets the one before. Makes room by evicting. */
  put(key: string, keyBytes: number, sequence: number, value: Uint8Array): boolean {
    if (keyBytes > this.#shape.keyBytes || value.length + STAMP_BYTES > this.#shape.valueBytes) {
      this.delete(key);
      return false;
    }
    const bytes = new Uint8Array(STAMP_BYTES + value.length);
    const view = new DataView(bytes.buffer);
    view.setFloat64(0, sequence, true);
    view.setFloat64(8, this.#owner, true);
    bytes.set(value, STAMP_BYTES);
    const kept = this.#guard(() => {
      while (!this.#map.set(key, bytes)) if (!this.#evict()) return false;
      this.#use(key);
      return true;
    });
    return kept === true;
  }

  delete(key: string): void {
    if (!this.#recency.delete(key)) return;
    this.#guard(() => this.#map.delete(key));
  }

  #use(key: string): void {
    this.#recency.delete(key);
    this.#recency.set(key, true);
  }

  #evict(): boolean {
    const [oldest] = this.#recency.keys();
    if (oldest === undefined) return false;
    this.#recency.delete(oldest);
    this.#map.delete(oldest);
    this.evictions++;
    return true;
  }

  /** A cache may fail, its store must not: what goes wrong in here is a miss. */
  #guard<T>(use: () => T): T | undefined {
    if (this.isLost) return undefined;
    try {
      return use();
    } catch (thrown) {
      if (isLapse(thrown)) this.isLost = true;
      else if (isDamage(thrown)) this.#map = this.#remake();
      else throw thrown;
      this.#recency.clear();
      return undefined;
    }
  }

  /** The sequence that a value was stamped with; NaN if it is none of this store's. */
  #sequenceOf(bytes: Uint8Array): number {
    if (bytes.length < STAMP_BYTES) return Number.NaN;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return view.getFloat64(8, true) === this.#owner ? view.getFloat64(0, true) : Number.NaN;
  }

  #make(): FabricHashMap<string, Uint8Array> {
    return new FabricHashMap(this.#lease, { ...this.#shape, key: stringCodec, value: rawCodec });
  }

  #remake(): FabricHashMap<string, Uint8Array> {
    this.rebuilds++;
    this.#lease.assertLive();
    const { memory, offset, bytes } = regionOf(this.#lease);
    memory.fill(offset, 0, bytes);
    return this.#make();
  }
}

/** FNV-1a. */
function hashOf(text: string): number {
  let hash = 0x811c_9dc5;
  for (let at = 0; at < text.length; at++)
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x0100_0193);
  return hash;
}

function isLapse(thrown: unknown): boolean {
  return isFabricError(thrown) && (thrown.code === "LEASE_EXPIRED" || thrown.code === "REVOKED");
}

function isDamage(thrown: unknown): boolean {
  return (
    isFabricError(thrown) &&
    (thrown.code === "CORRUPT_RECORD" || thrown.code === "DECODE" || thrown.code === "TIMED_OUT")
  );
}
