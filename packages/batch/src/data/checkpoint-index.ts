/**
 * Which tasks of a run have committed, and where their outputs are: one lease of blocks, a manifest and then a slot for each
 * task. A slot, little endian:
 *
 * ```
 *  byte  0  magic "SVT1"        8  fingerprint of the plan, two words      20  outputs
 *        4  number of the task 16  checksum of all else (first word)       24  checksum (second word)
 *       28  outputs, 32 bytes each: slot and generation of their lease, first block, bytes (64 bits), checksum (two words), 0
 * ```
 *
 * Invariant C1: a slot that is not whole, of another plan or of another task says nothing: its task is run again.
 */
import {
  BLOCK_BYTES,
  checksum,
  plainText,
  type BlockLease,
  type RecordBlocks,
} from "@selvage/fabric";
import type { DataRef } from "./data-format.ts";
import type { ExecutionPlan } from "../graph/execution-plan.ts";

/** Where an output of a committed task is. */
export interface OutputPlace {
  /** The lease: its slot and generation. */
  readonly slot: number;
  readonly generation: number;
  readonly first: number;
  readonly bytes: number;
  readonly check: readonly [number, number];
}

/** What a slot says. `"empty"`: its task has not committed. */
export type SlotReading = "empty" | "damaged" | readonly OutputPlace[];

/** Blocks of the manifest: a record of two slots. */
const MANIFEST_BLOCKS = 4;

const magic = 0x3154_5653;
const headerBytes = 28;
const placeBytes = 32;

/** How an index is laid out for a plan. */
export class IndexLayout {
  /** Tells the plan from others: names, edges and formats. Not the bodies. */
  readonly fingerprint: readonly [number, number];
  readonly numBlocks: number;
  readonly #slotBlocks: number;
  readonly #tasks: number;

  constructor(plan: ExecutionPlan) {
    let most = 0;
    for (const { outputs } of plan.tasks) most = Math.max(most, outputs.length);
    this.#slotBlocks = Math.ceil((headerBytes + most * placeBytes) / BLOCK_BYTES);
    this.#tasks = plan.taskCount();
    this.numBlocks = MANIFEST_BLOCKS + this.#tasks * this.#slotBlocks;
    this.fingerprint = fingerprintOf(plan);
  }

  /** Writes a task's slot. It is durable once the lease was flushed. */
  async write(lease: BlockLease, task: number, places: readonly OutputPlace[]): Promise<void> {
    const bytes = new Uint8Array(this.#slotBlocks * BLOCK_BYTES);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, magic, true);
    view.setUint32(4, task, true);
    view.setInt32(8, this.fingerprint[0], true);
    view.setInt32(12, this.fingerprint[1], true);
    view.setUint32(20, places.length, true);
    for (const [index, place] of places.entries())
      setPlace(view, headerBytes + index * placeBytes, place);
    const [first, second] = checksum(bytes);
    view.setInt32(16, first, true);
    view.setInt32(24, second, true);
    await lease.write(MANIFEST_BLOCKS + task * this.#slotBlocks, bytes);
  }

  /** Reads every slot. */
  async *readAll(lease: BlockLease, outputsOf: readonly number[]): AsyncGenerator<SlotReading> {
    const bytes = new Uint8Array(this.#slotBlocks * BLOCK_BYTES);
    for (let task = 0; task < this.#tasks; task++) {
      await lease.readInto(MANIFEST_BLOCKS + task * this.#slotBlocks, bytes);
      yield this.#parse(bytes, task, outputsOf[task] ?? 0);
    }
  }

  #parse(bytes: Uint8Array<ArrayBuffer>, task: number, outputs: number): SlotReading {
    if (bytes.every((byte) => byte === 0)) return "empty";
    const view = new DataView(bytes.buffer);
    const sums = [view.getInt32(16, true), view.getInt32(24, true)] as const;
    view.setInt32(16, 0, true);
    view.setInt32(24, 0, true);
    const [first, second] = checksum(bytes);
    const isWhole = first === sums[0] && second === sums[1] && view.getUint32(0, true) === magic;
    const isOwn =
      view.getUint32(4, true) === task &&
      view.getInt32(8, true) === this.fingerprint[0] &&
      view.getInt32(12, true) === this.fingerprint[1] &&
      view.getUint32(20, true) === outputs;
    if (!isWhole || !isOwn) return "damaged";
    return Array.from({ length: outputs }, (_, at) => placeAt(view, headerBytes + at * placeBytes));
  }
}

/** The manifest's part of an index lease, as a record has it. */
export function manifestBlocks(lease: BlockLease): RecordBlocks {
  return {
    numBlocks: MANIFEST_BLOCKS,
    readInto: (index, target) => lease.readInto(index, target),
    write: (index, bytes) => lease.write(index, bytes),
    flush: () => lease.flush(),
  };
}

function setPlace(view: DataView, at: number, place: OutputPlace): void {
  view.setUint32(at, place.slot, true);
  view.setUint32(at + 4, place.generation, true);
  view.setUint32(at + 8, place.first, true);
  view.setBigUint64(at + 12, BigInt(place.bytes), true);
  view.setInt32(at + 20, place.check[0], true);
  view.setInt32(at + 24, place.check[1], true);
}

function placeAt(view: DataView, at: number): OutputPlace {
  return {
    slot: view.getUint32(at, true),
    generation: view.getUint32(at + 4, true),
    first: view.getUint32(at + 8, true),
    bytes: Number(view.getBigUint64(at + 12, true)),
    check: [view.getInt32(at + 20, true), view.getInt32(at + 24, true)],
  };
}

function refs(list: readonly DataRef[]): string[][] {
  return list.map(({ name, format }) => [name, format]);
}

function fingerprintOf(plan: ExecutionPlan): readonly [number, number] {
  const tasks = plan.tasks.map(({ name, inputs, outputs, after }) => [
    name,
    refs(inputs),
    refs(outputs),
    after.toSorted(),
  ]);
  return checksum(plainText.encode(JSON.stringify([refs(plan.inputs), tasks])));
}
