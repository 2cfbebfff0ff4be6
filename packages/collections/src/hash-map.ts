/**
 * A hash map that lies wholly in the bytes of one memory lease, so that other threads find it by the lease's ticket.
 * How it is laid out, and why a reader never sees half a value, is told in `map-table.ts` and `map-layout.ts`.
 */
import {
  FabricError,
  invalidArgument,
  regionOf,
  type Codec,
  type MemLease,
  type MemTicket,
} from "@selvage/fabric";
import {
  capacityWithin,
  formMap,
  mapBytes,
  readMap,
  type MapHeader,
  type MapShape,
} from "./map-layout.ts";
import { MapTable } from "./map-table.ts";
import type { SlotCodec } from "./slot-codecs.ts";

/** How a map's keys and values become bytes. Every thread names the same codecs. */
export interface MapCodecs<K, V> {
  /** Two keys are the same key when they encode to the same bytes. */
  readonly key: Codec<K>;
  readonly value: Codec<V>;
}

/** What a new map is made of. */
export interface HashMapOptions<K, V> extends MapCodecs<K, V> {
  /** The longest key, in bytes as encoded. */
  readonly keyBytes: number;
  /** The longest value, in bytes as encoded. */
  readonly valueBytes: number;
  /** Entries at most. Default: as many as the lease holds. */
  readonly capacity?: number;
}

/** A copy this long is checked again at its end (as `MemLease.read` does). */
const shortBytesMax = 4_096;

/**
 * A map in a memory lease. One thread writes at a time, any number read meanwhile: a read gives a value that the key
 * had at some moment during the call, whole, and waits for nobody. A writer that dies in the middle leaves the old
 * value or the new one; the next writer counts the entries anew, and `repairs` says so.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fabric, FabricHashMap, numberCodec, stringCodec } from "selvage";
 *
 * using fabric = Fabric.open({ memoryBytes: 1 << 20 });
 * const shape = { capacity: 1_000, keyBytes: 32, valueBytes: 8 };
 * const codecs = { key: stringCodec, value: numberCodec };
 * const lease = fabric.mem().minBytes(FabricHashMap.bytesFor(shape)).acquire();
 * const map = new FabricHashMap(lease, { ...shape, ...codecs });
 * map.set("apples", 3);
 *
 * // On another thread, Fabric.attachMem(ticket) reaches the same lease.
 * const same = FabricHashMap.attach(fabric.attachMem(map.ticket()), codecs);
 * assert.equal(same.get("apples"), 3);
 * assert.deepEqual([...same], [["apples", 3]]);
 * ```
 */
export class FabricHashMap<K, V> implements Iterable<[K, V]> {
  readonly #lease: MemLease;
  readonly #table: MapTable;
  readonly #key: Binding<K>;
  readonly #value: Binding<V>;

  /**
   * Makes a map in a blank lease, or joins the same map that is there already.
   * @throws FabricError `CAPACITY_EXCEEDED` (the lease is too small), `CONFLICT` (the lease holds something else),
   * `CORRUPT_RECORD`, `INVALID_ARGUMENT`, `LEASE_EXPIRED`, `REVOKED`.
   */
  constructor(lease: MemLease, options: HashMapOptions<K, V>) {
    const region = regionOf(lease);
    checkCodecs(options);
    lease.assertLive();
    const { keyBytes, valueBytes } = options;
    const capacity = options.capacity ?? capacityWithin(region.bytes, keyBytes, valueBytes);
    if (options.capacity === undefined && capacity === 0) {
      const bytes = mapBytes({ capacity: 1, keyBytes, valueBytes });
      throw new FabricError(
        "CAPACITY_EXCEEDED",
        `Cannot make the map: one entry takes ${bytes} bytes, the lease has ${region.bytes}`,
        { bytes, leaseBytes: region.bytes },
      );
    }
    const shape = { capacity, keyBytes, valueBytes };
    const header = formMap(region, { ...shape, seed: seedOf(lease), codecs: codecsOf(options) });
    this.#lease = lease;
    this.#table = new MapTable(region, header);
    this.#key = bind(options.key);
    this.#value = bind(options.value);
  }

  /** Bytes of a lease for a map of this shape. @throws FabricError `INVALID_ARGUMENT`. */
  static bytesFor(shape: MapShape): number {
    return mapBytes(shape);
  }

  /**
   * Reaches the map that stands in a lease; `Fabric.attachMem(ticket)` gives the lease on another thread.
   * @throws FabricError `CORRUPT_RECORD` (there is none, or its header is damaged), `CONFLICT` (other codecs),
   * `LEASE_EXPIRED`, `REVOKED`, `INVALID_ARGUMENT`.
   */
  static attach<K, V>(lease: MemLease, codecs: MapCodecs<K, V>): FabricHashMap<K, V> {
    const region = regionOf(lease);
    checkCodecs(codecs);
    lease.assertLive();
    const header: MapHeader = readMap(region);
    if (header.codecs !== codecsOf(codecs))
      throw new FabricError("CONFLICT", "Cannot attach to the map: it was made with other codecs", {
        key: codecs.key.name,
        value: codecs.value.name,
      });
    const { capacity, keyBytes, valueBytes } = header;
    return new FabricHashMap(lease, { ...codecs, capacity, keyBytes, valueBytes });
  }

  /** Entries. While another thread writes, what it was a moment ago. */
  get size(): number {
    this.#lease.assertLive();
    return this.#table.size;
  }

  /** Entries at most. */
  get capacity(): number {
    return this.#table.header.capacity;
  }

  /** The longest key, in bytes as encoded. */
  get keyBytesMax(): number {
    return this.#table.header.keyBytes;
  }

  /** The longest value, in bytes as encoded. */
  get valueBytesMax(): number {
    return this.#table.header.valueBytes;
  }

  /** How often a writer found that the one before had died in the middle. */
  get repairs(): number {
    this.#lease.assertLive();
    return this.#table.repairs;
  }

  /**
   * The key's value, or undefined. Never waits for a writer.
   * @throws FabricError `LEASE_EXPIRED`, `REVOKED`, `CORRUPT_RECORD`, `TIMED_OUT` (the entry was replaced under each of
   * thousands of tries), what the codecs throw.
   */
  get(key: K): V | undefined {
    this.#lease.assertLive();
    const table = this.#table;
    const keyBytes = this.#key.fill(key, this.#key.prepare(key), table.key);
    if (keyBytes < 0) return undefined;
    const valueBytes = table.read(keyBytes);
    if (valueBytes > shortBytesMax) this.#lease.assertLive();
    return valueBytes < 0 ? undefined : this.#value.read(table.value, valueBytes);
  }

  /**
   * Copies the key's value, as encoded, to the front of `target`; returns its bytes, or -1 if there is none. Allocates
   * nothing up to 96 bytes. Errors as `get`, and `INVALID_ARGUMENT` (the target is shorter than the value).
   */
  readInto(key: K, target: Uint8Array): number {
    if (!(target instanceof Uint8Array)) throw invalidArgument("target", "a Uint8Array", target);
    this.#lease.assertLive();
    const table = this.#table;
    const keyBytes = this.#key.fill(key, this.#key.prepare(key), table.key);
    if (keyBytes < 0) return -1;
    const valueBytes = table.read(keyBytes);
    if (valueBytes > shortBytesMax) this.#lease.assertLive();
    if (valueBytes > target.length)
      throw invalidArgument("target", `at least ${valueBytes} bytes`, target.length);
    if (valueBytes > 0) copyInto(table.value, valueBytes, target);
    return valueBytes;
  }

  /** Whether the key is there. Errors as `get`. */
  has(key: K): boolean {
    this.#lease.assertLive();
    const keyBytes = this.#key.fill(key, this.#key.prepare(key), this.#table.key);
    return keyBytes >= 0 && this.#table.has(keyBytes);
  }

  /**
   * Sets the key's value. False if the key is new and the map is full: then nothing has changed.
   * @throws FabricError `CAPACITY_EXCEEDED` (key or value longer than its slot), `TIMED_OUT` (another thread is in the
   * middle of a write, for milliseconds: nothing was written), and as `get`.
   */
  set(key: K, value: V): boolean {
    this.#lease.assertLive();
    const table = this.#table;
    // A codec's code may use this very map. So both are encoded before either is put where such a use would put its own.
    const preparedKey = this.#key.prepare(key);
    const preparedValue = this.#value.prepare(value);
    const valueBytes = this.#value.fill(value, preparedValue, table.value);
    const keyBytes = this.#key.fill(key, preparedKey, table.key);
    if (keyBytes < 0) throw tooLong("key", table.header.keyBytes);
    if (valueBytes < 0) throw tooLong("value", table.header.valueBytes);
    return table.write(keyBytes, valueBytes);
  }

  /** Removes the key; false if it was not there. Errors as `set`. */
  delete(key: K): boolean {
    this.#lease.assertLive();
    const keyBytes = this.#key.fill(key, this.#key.prepare(key), this.#table.key);
    return keyBytes >= 0 && this.#table.remove(keyBytes);
  }

  /** Removes every entry. Readers on other threads see them go bit by bit. Errors as `set`. */
  clear(): void {
    this.#lease.assertLive();
    this.#table.clear();
  }

  /**
   * Every entry, in no order. An entry that stands from beginning to end is given once; one that another thread sets
   * or deletes meanwhile may be given or not. Costs a copy of each entry. Errors as `get`.
   */
  *entries(): IterableIterator<[K, V]> {
    const { buckets } = this.#table;
    for (let bucket = 0; bucket < buckets; bucket++) {
      this.#lease.assertLive();
      for (const { key, value } of this.#table.entriesOf(bucket))
        yield [this.#key.read(key, key.length), this.#value.read(value, value.length)];
    }
  }

  /** Every key, as {@link entries}. */
  *keys(): IterableIterator<K> {
    for (const [key] of this.entries()) yield key;
  }

  /** Every value, as {@link entries}. */
  *values(): IterableIterator<V> {
    for (const [, value] of this.entries()) yield value;
  }

  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.entries();
  }

  /** Plain data by which another thread attaches. Errors as `MemLease.ticket`. */
  ticket(): MemTicket {
    return this.#lease.ticket();
  }
}

/** A codec as the map uses it: `prepare` runs what code may be the user's, `fill` puts bytes into the slot's scratch. */
interface Binding<T> {
  prepare(value: T): Uint8Array | undefined;
  /** How many bytes were put, or -1 if they do not fit. */
  fill(value: T, prepared: Uint8Array | undefined, target: Uint8Array): number;
  read(source: Uint8Array, length: number): T;
}

const unprepared = (): undefined => undefined;

function bind<T>(codec: Codec<T>): Binding<T> {
  if (isSlotCodec(codec))
    return {
      prepare: unprepared,
      fill: (value, _prepared, target) => codec.encodeInto(value, target),
      read: (source, length) => codec.decodeFrom(source, length),
    };
  return {
    prepare: (value) => codec.encode(value),
    fill(_value, prepared, target) {
      if (!(prepared instanceof Uint8Array))
        throw new FabricError("ENCODE", `Cannot encode: codec ${codec.name} gave no bytes`, {
          codec: codec.name,
        });
      if (prepared.length > target.length) return -1;
      copyInto(prepared, prepared.length, target);
      return prepared.length;
    },
    // A copy: what a codec decodes may be a view of it.
    read: (source, length) => codec.decode(copyOf(source, length)),
  };
}

/** Up to here a loop is faster than a `subarray` and `set` (as in fabric's `copy-bytes.ts`). */
const copyLoopMax = 96;

function copyOf(source: Uint8Array, length: number): Uint8Array {
  const copy = new Uint8Array(length);
  copyInto(source, length, copy);
  return copy;
}

function copyInto(source: Uint8Array, length: number, target: Uint8Array): void {
  if (length > copyLoopMax) target.set(source.subarray(0, length));
  else for (let at = 0; at < length; at++) target[at] = source[at] as number;
}

function isSlotCodec<T>(codec: Codec<T>): codec is SlotCodec<T> {
  return "encodeInto" in codec && "decodeFrom" in codec;
}

function checkCodecs(codecs: unknown): void {
  if (typeof codecs !== "object" || codecs === null)
    throw invalidArgument("options", "codecs of the keys and values", codecs);
  for (const name of ["key", "value"] as const) {
    const codec = (codecs as Record<string, unknown>)[name] as Partial<Codec<unknown>> | undefined;
    if (typeof codec?.encode !== "function" || typeof codec.decode !== "function")
      throw invalidArgument(name, "a codec", codec);
  }
}

function codecsOf<K, V>({ key, value }: MapCodecs<K, V>): number {
  let hash = 0x811c_9dc5;
  for (const character of `${key.name}\0${value.name}`)
    hash = Math.imul(hash ^ (character.codePointAt(0) as number), 0x0100_0193);
  return hash;
}

/** Nobody outside the process knows a lease's id: keys cannot be chosen so that they fall into one bucket. */
function seedOf(lease: MemLease): number {
  return Number.parseInt(lease.leaseId.slice(0, 8), 16) | 0;
}

function tooLong(what: "key" | "value", bytesMax: number): FabricError {
  return new FabricError(
    "CAPACITY_EXCEEDED",
    `Cannot set: the ${what} is longer than its slot of ${bytesMax} bytes`,
    { what, bytesMax },
  );
}
