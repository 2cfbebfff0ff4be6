/**
 * Where everything is in a map's memory, and what a header must satisfy before any of it is believed.
 *
 * ```
 *  byte    0  magic "SVM1"    4 version 1     8 capacity    12 buckets     16 longest key   20 longest value
 *         24  seed of the hash                28 what keys and values are  32 checksum of bytes 0 to 31
 *        128  writes: odd while one is going on             132 who writes: nonce of the thread, 0 the owner's
 *        136  entries           140 first free node         144 nodes that were ever used         148 repairs
 *        256  buckets: first node (0 none), version (goes up by 1 whenever a node leaves the bucket)
 *        ...  nodes, capacity + 1 of them: next node, hash, bytes of the key, bytes of the value, key, value
 * ```
 *
 * Nodes are numbered from 1. A key and a value begin at a whole word each; the last word of a key is filled with zeros.
 *
 * M1: nothing read from a map's memory is used as an index or a length before it was held against the bounds that the
 * handle keeps for itself.
 */
import { FabricError, invalidArgument, type LeaseRegion } from "@selvage/fabric";

/** How large a map is. */
export interface MapShape {
  /** Entries at most. */
  readonly capacity: number;
  /** The longest key, in bytes as encoded. */
  readonly keyBytes: number;
  /** The longest value, in bytes as encoded. */
  readonly valueBytes: number;
}

/** What a header says. */
export interface MapHeader extends MapShape {
  readonly seed: number;
  /** A hash of the codecs' names. */
  readonly codecs: number;
}

/** Word offsets from the lease's first. The pair of writes and writer is at an even one. */
export const WRITES = 32;
export const WRITER = 33;
export const COUNT = 34;
export const FREE = 35;
export const USED = 36;
export const REPAIRS = 37;
export const BUCKETS = 64;
/** Words of a bucket, and where in it the version is. */
export const BUCKET_WORDS = 2;
export const BUCKET_VERSION = 1;
/** Word offsets in a node. */
export const NODE_NEXT = 0;
export const NODE_HASH = 1;
export const NODE_KEY_BYTES = 2;
export const NODE_VALUE_BYTES = 3;
export const NODE_KEY = 4;

/** The most entries, and the longest key and value. */
const capacityMax: number = 2 ** 26;
const keyBytesMax: number = 2 ** 16;
const valueBytesMax: number = 2 ** 26;

const magic = 0x314d_5653;
/** While a header is being written. */
const forming = 0x304d_5653;
const version = 1;
const checksumAt = 8;
const wordsMax = 2 ** 30;
/** How often a thread looks again while another forms the header: a few hundred nanoseconds' work. */
const formingLooksMax = 1_000_000;

/** A power of two that is at least the capacity: chains are one node long, or few. */
export function bucketsOf(capacity: number): number {
  let buckets = 1;
  while (buckets < capacity) buckets *= 2;
  return buckets;
}

/** Words of one node. */
export function nodeWordsOf({ keyBytes, valueBytes }: MapShape): number {
  return NODE_KEY + Math.ceil(keyBytes / 4) + Math.ceil(valueBytes / 4);
}

/** Bytes that a map of this shape takes. @throws FabricError `INVALID_ARGUMENT`. */
export function mapBytes(shape: MapShape): number {
  checkShape(shape);
  return 4 * mapWords(shape);
}

function mapWords(shape: MapShape): number {
  // One node more than entries: a value is replaced by a new node, so that it is the old one or the new one.
  return (
    BUCKETS + bucketsOf(shape.capacity) * BUCKET_WORDS + (shape.capacity + 1) * nodeWordsOf(shape)
  );
}

/** The most entries that a map of so many bytes can have; 0 if none. */
export function capacityWithin(bytes: number, keyBytes: number, valueBytes: number): number {
  let least = 0;
  let most = capacityMax;
  while (least < most) {
    const capacity = Math.ceil((least + most) / 2);
    if (4 * mapWords({ capacity, keyBytes, valueBytes }) <= bytes) least = capacity;
    else most = capacity - 1;
  }
  return least;
}

/** @throws FabricError `INVALID_ARGUMENT`. */
function checkShape(shape: MapShape): void {
  checkCount("capacity", shape.capacity, 1, capacityMax);
  checkCount("keyBytes", shape.keyBytes, 1, keyBytesMax);
  checkCount("valueBytes", shape.valueBytes, 0, valueBytesMax);
  if (mapWords(shape) > wordsMax)
    throw invalidArgument("capacity", "a map of at most 4 GiB", shape.capacity);
}

function checkCount(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most)
    throw invalidArgument(name, `a whole number from ${least} to ${most}`, value);
}

/**
 * Makes a map in a blank region, or joins the same map that is there already; returns what is there.
 * @throws FabricError `CAPACITY_EXCEEDED` (the lease is too small), `CONFLICT` (something else is there),
 * `CORRUPT_RECORD`.
 */
export function formMap(region: LeaseRegion, header: MapHeader): MapHeader {
  const bytes = mapBytes(header);
  if (bytes > region.bytes)
    throw new FabricError(
      "CAPACITY_EXCEEDED",
      `Cannot make the map: it takes ${bytes} bytes, the lease has ${region.bytes}`,
      { bytes, leaseBytes: region.bytes, capacity: header.capacity },
    );
  const { words } = region.memory;
  const base = region.offset / 4;
  // Order F1. The former stores the header (atomic), then the magic (atomic). Whoever sees the magic sees the header.
  const found = words.compareExchange(base, 0, forming);
  if (found === 0) {
    for (const [index, value] of headerWords(header).entries())
      if (index > 0) words.store(base + index, value);
    words.store(base, magic);
    return header;
  }
  if (found !== magic && found !== forming)
    throw new FabricError("CONFLICT", "Cannot make the map: the lease holds something else", {
      word: found,
    });
  const there = readMap(region);
  const same = (["capacity", "keyBytes", "valueBytes", "codecs"] as const).every(
    (name) => there[name] === header[name],
  );
  if (same) return there;
  const { capacity, keyBytes, valueBytes } = there;
  throw new FabricError("CONFLICT", "Cannot make the map: the lease holds another one", {
    capacity,
    keyBytes,
    valueBytes,
  });
}

/** What the header of a region says. @throws FabricError `CORRUPT_RECORD`: there is no map, or it is damaged. */
export function readMap(region: LeaseRegion): MapHeader {
  if (region.bytes < BUCKETS * 4) throw damaged("the lease is too small to hold a map");
  const { words } = region.memory;
  const base = region.offset / 4;
  for (let looks = 0; words.load(base) === forming; looks++)
    if (looks === formingLooksMax) throw damaged("whoever made the map never finished");
  const at = (index: number): number => words.load(base + index);
  if (at(0) === 0) throw damaged("there is no map in the lease");
  if (at(0) !== magic || at(1) !== version) throw damaged("the header is none");
  const header: MapHeader = {
    capacity: at(2),
    keyBytes: at(4),
    valueBytes: at(5),
    seed: at(6),
    codecs: at(7),
  };
  if (headerWords(header)[checksumAt] !== at(checksumAt)) throw damaged("its checksum is wrong");
  try {
    checkShape(header);
  } catch (cause) {
    throw damaged("its shape is none", cause);
  }
  if (bucketsOf(header.capacity) !== at(3)) throw damaged("its size is not its shape's");
  if (mapBytes(header) > region.bytes) throw damaged("it is larger than its lease");
  return header;
}

function headerWords(header: MapHeader): Int32Array {
  const words = new Int32Array(checksumAt + 1);
  words.set([magic, version, header.capacity, bucketsClaimed(header), header.keyBytes]);
  words.set([header.valueBytes, header.seed, header.codecs], 5);
  let sum = 0x811c_9dc5;
  for (let index = 0; index < checksumAt; index++)
    sum = Math.imul(sum ^ (words[index] as number), 0x0100_0193) ^ (sum >>> 15);
  words[checksumAt] = sum;
  return words;
}

// Of a header that may say anything.
function bucketsClaimed({ capacity }: MapHeader): number {
  return capacity >= 1 && capacity <= capacityMax ? bucketsOf(capacity) : 0;
}

/** The error for a map whose memory says what cannot be. */
export function damaged(why: string, cause?: unknown): FabricError {
  return new FabricError(
    "CORRUPT_RECORD",
    `Cannot use the map: ${why}`,
    { why },
    cause === undefined ? undefined : { cause },
  );
}
