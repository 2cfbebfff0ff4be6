/**
 * A thread that uses a map by its ticket until it is told to stop. A value is sixteen words that are all the same
 * number; a writer raises a key's number with every write, so a reader knows a torn value, and one that goes back.
 */
import { parentPort, workerData } from "node:worker_threads";
import { FabricHashMap, stringCodec } from "@selvage/collections";
import { isFabricError, rawCodec, type MemTicket } from "@selvage/fabric";
import { Fabric } from "@selvage/node";

/** What the thread is to do, and with which map. */
export interface MapTask {
  readonly ticket: MemTicket;
  readonly what: "read" | "write";
  /** First letter of the keys that it writes. */
  readonly name: string;
  readonly flags: Int32Array<SharedArrayBuffer>;
}

/** Words of `flags`: the thread is at work; it is told to stop; rounds done so far. */
export const AT_WORK = 0;
export const STOP = 1;
export const ROUNDS = 2;

/** Keys of one writer. Few, and of few buckets, so that nodes are used again at once. */
export const KEYS = 6;
/** Keys that come and go. */
export const COMING = 2;
export const mapShape = { capacity: 2 * (KEYS + COMING), keyBytes: 8, valueBytes: 64 };
export const mapCodecs = { key: stringCodec, value: rawCodec };

export type ByteMap = FabricHashMap<string, Uint8Array>;

/** A value of sixteen equal words. */
export function valueOf(number: number): Uint8Array {
  return new Uint8Array(new Int32Array(16).fill(number).buffer);
}

/** The number that a value is made of. Throws if its words differ. */
export function numberOf(value: Uint8Array): number {
  const words = new Int32Array(value.buffer, value.byteOffset, value.length / 4);
  if (words.length !== 16 || words.some((word) => word !== words[0]))
    throw new Error(`torn: ${[...words].join(" ")}`);
  return words[0] as number;
}

/** One round of writes: every key gets `number`, and keys come and go. Two writers now and then wait for each other. */
export function writeRound(map: ByteMap, name: string, number: number): void {
  for (let key = 0; key < KEYS; key++)
    patiently(() => map.set(`${name}${key}`, valueOf(number)) || fail("the map is full"));
  const coming = `${name}${KEYS + (number % COMING)}`;
  if (number % 4 < 2) patiently(() => map.set(coming, valueOf(number)) || fail("the map is full"));
  else patiently(() => map.delete(coming));
}

/** Reads every key of a writer; throws on a value that is torn, or older than what was seen before. */
export function readRound(map: ByteMap, name: string, seen: Int32Array): void {
  for (let key = 0; key < KEYS + COMING; key++) {
    const value = map.get(`${name}${key}`);
    if (value === undefined) {
      if (key < KEYS) fail(`${name}${key} is missing`);
      continue;
    }
    const number = numberOf(value);
    if (number < (seen[key] as number)) fail(`${name}${key} went back`);
    seen[key] = number;
  }
}

function patiently(write: () => unknown): void {
  for (;;) {
    try {
      write();
      return;
    } catch (thrown) {
      if (!isFabricError(thrown) || thrown.code !== "TIMED_OUT") throw thrown;
    }
  }
}

function fail(why: string): never {
  throw new Error(why);
}

function work({ ticket, what, name, flags }: MapTask): void {
  const map = FabricHashMap.attach(Fabric.attachMem(ticket), mapCodecs);
  const seen = new Int32Array(KEYS + COMING);
  Atomics.store(flags, AT_WORK, 1);
  Atomics.notify(flags, AT_WORK);
  for (let round = 1; Atomics.load(flags, STOP) === 0; round++) {
    if (what === "write") writeRound(map, name, round);
    else readRound(map, name, seen);
    Atomics.store(flags, ROUNDS, round);
  }
}

if (parentPort !== null) {
  work(workerData as MapTask);
  parentPort.postMessage("stopped");
}
