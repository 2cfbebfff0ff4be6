/**
 * Divides a range of units among blocks of any size, and joins freed blocks again at once: two-level segregated
 * fit (TLSF). It holds no memory itself; a unit is a 64-byte granule of an arena or a 512-byte block of a disk.
 *
 * Shape: a pool of descriptors, eight words each, one per block, live or free, never one per unit; the pool doubles
 * when full. Free blocks hang in one list per size class: 32 classes to each power of two, and below 32 units one
 * class per size. Two levels of bitmaps find the lowest non-empty class in a handful of instructions.
 *
 * A1: blocks tile the range: they are disjoint and leave no gap, so live units + `freeUnits` = `units`.
 * A2: no two neighbours are both free.
 * A3: a block is in the list of its size class exactly when it is free, and a bitmap bit is set exactly when its
 *     list is not empty.
 * A4: `allocate` succeeds exactly when some free block is large enough.
 *
 * Source: Masmano, Ripoll, Crespo, Real, *TLSF: a new dynamic memory allocator for real-time systems* (ECRTS 2004),
 * sections 3 and 4; the descriptors stand apart from the memory, which may be a disk. A4 goes beyond the paper.
 */
import { assert } from "./errors.ts";

/** The most units one allocator divides: 4 GiB of 64-byte granules. */
export const RANGE_UNITS_MAX = 67_108_864;

/** One block, as {@link RangeAllocator.ranges} lists it. Unit: units. */
export interface Range {
  /** Where it begins. */
  readonly offset: number;
  /** How long it is. */
  readonly units: number;
  /** True for an allocated block. */
  readonly isLive: boolean;
}

const classBits = 5;
const classesPerRow = 1 << classBits;
const columnMask = classesPerRow - 1;
// A row per power of two from 32 to 2^26, and row 0 for the exact sizes below 32.
const rows = 23;

// The words of a descriptor. Eight, so that a descriptor never straddles a cache line.
const wordShift = 3;
const descriptorsFirst = 64;
const offsetWord = 0;
const unitsWord = 1;
const belowWord = 2;
const aboveWord = 3;
const previousWord = 4;
const nextWord = 5;
const stateWord = 6;
// Of a free block only.
const classWord = 7;

// States. Spare is a descriptor not in use, and descriptor 0.
const spare = 0;
const free = 1;
const live = 2;

// Descriptor 0 stands for "none": below the first block, above the last, at both ends of a list. It is never free,
// so joining stops at it, and its words are scratch, so that links are written without asking whether there is one.
const none = 0;
// A split keeps the descriptor of its lower part and a join that of the lower block: the one at offset 0 stays.
const lowest = 1;

const lowestBit = (word: number): number => 31 - Math.clz32(word & -word);

/** The class whose list a free block of `units` is in. */
function classOf(units: number): number {
  if (units < classesPerRow) return units;
  const log = 31 - Math.clz32(units);
  return ((log - classBits + 1) << classBits) | ((units >>> (log - classBits)) & columnMask);
}

/** The lowest class in which every block has at least `units`. */
function classAbove(units: number): number {
  if (units < classesPerRow) return units;
  const log = 31 - Math.clz32(units);
  return classOf(units + (1 << (log - classBits)) - 1);
}

/** A TLSF allocator over the units 0 to `units` - 1. Every size and offset is in units. Single-threaded. */
export class RangeAllocator {
  /** The length of the range. */
  readonly units: number;
  #freeUnits: number;
  #words = new Int32Array(descriptorsFirst << wordShift);
  #descriptorsUsed = 1;
  #spare = none;
  #rowsOccupied = 0;
  readonly #classesOccupied = new Int32Array(rows);
  readonly #heads = new Int32Array(rows << classBits);

  constructor(units: number) {
    assert(
      Number.isInteger(units) && units >= 1 && units <= RANGE_UNITS_MAX,
      "a range has 1 to RANGE_UNITS_MAX units",
      units,
    );
    this.units = units;
    this.#freeUnits = units;
    const block = this.#descriptor();
    this.#words[(block << wordShift) + unitsWord] = units;
    this.#insert(block);
  }

  /** How many units are free, in however many blocks. */
  get freeUnits(): number {
    return this.#freeUnits;
  }

  /**
   * Allocates exactly `units` units, the lower end of the block it finds; -1 when no free block is that long (A4).
   *
   * Cost: constant, unless nothing larger than the request's own class is free: then that class's list is searched,
   * at worst all free blocks. One call in a while also copies the descriptors to a pool of twice the size.
   * @returns the block's id, which a later block may bear after this one is freed
   */
  allocate(units: number): number {
    assert(Number.isInteger(units) && units >= 1, "a block has one or more units", units);
    if (units > this.#freeUnits) return -1;
    const found = this.#classFrom(classAbove(units));
    const block = found === none ? this.#firstFit(units) : (this.#heads[found] as number);
    if (block === none) return -1;
    this.#remove(block);
    this.#split(block, units);
    this.#words[(block << wordShift) + stateWord] = live;
    this.#freeUnits -= units;
    return block;
  }

  /** Where a live block begins. */
  offsetOf(block: number): number {
    return this.#words[this.#assumeLive(block) + offsetWord] as number;
  }

  /** How long a live block is: what was asked for. */
  sizeOf(block: number): number {
    return this.#words[this.#assumeLive(block) + unitsWord] as number;
  }

  /**
   * Frees a live block and joins it with its free neighbours (A2). Cost: constant.
   *
   * @throws InvariantError for an id that is not live; a double free is caught until a later block bears the id
   */
  free(block: number): void {
    const words = this.#words;
    const at = this.#assumeLive(block);
    const below = words[at + belowWord] as number;
    let above = words[at + aboveWord] as number;
    let units = words[at + unitsWord] as number;
    let joined = block;
    this.#freeUnits += units;
    if (words[(above << wordShift) + stateWord] === free) {
      const retired = above;
      units += words[(retired << wordShift) + unitsWord] as number;
      above = words[(retired << wordShift) + aboveWord] as number;
      this.#remove(retired);
      this.#retire(retired);
    }
    if (words[(below << wordShift) + stateWord] === free) {
      units += words[(below << wordShift) + unitsWord] as number;
      joined = below;
      this.#remove(below);
      this.#retire(block);
    }
    words[(joined << wordShift) + unitsWord] = units;
    words[(joined << wordShift) + aboveWord] = above;
    words[(above << wordShift) + belowWord] = joined;
    this.#insert(joined);
  }

  /** The length of the longest free block, 0 when nothing is free. Cost: the length of the highest occupied list. */
  largestFree(): number {
    if (this.#rowsOccupied === 0) return 0;
    const row = 31 - Math.clz32(this.#rowsOccupied);
    const column = 31 - Math.clz32(this.#classesOccupied[row] as number);
    const words = this.#words;
    let block = this.#heads[(row << classBits) | column] as number;
    let largest = 0;
    while (block !== none) {
      const at = block << wordShift;
      largest = Math.max(largest, words[at + unitsWord] as number);
      // Every block in a class of row 0 has the same length.
      block = row === 0 ? none : (words[at + nextWord] as number);
    }
    return largest;
  }

  /** Lists all blocks from offset 0 up, for tests and diagnostics. The allocator must not change meanwhile. */
  *ranges(): Generator<Range, void, undefined> {
    let block = lowest;
    while (block !== none) {
      const at = block << wordShift;
      yield {
        offset: this.#words[at + offsetWord] as number,
        units: this.#words[at + unitsWord] as number,
        isLive: this.#words[at + stateWord] === live,
      };
      block = this.#words[at + aboveWord] as number;
    }
  }

  /** Returns where a live block's descriptor begins in the words. */
  #assumeLive(block: number): number {
    // The first test keeps 1.5 out, whose product with 8 is an index; out of bounds reads undefined, which is not live.
    const isLive = (block | 0) === block && this.#words[(block << wordShift) + stateWord] === live;
    assert(isLive, "the block is live", block);
    return block << wordShift;
  }

  /** The lowest non-empty class from `from` up, or none: class 0 is always empty, for no block has 0 units. */
  #classFrom(from: number): number {
    let row = from >>> classBits;
    let columns = (this.#classesOccupied[row] as number) & (-1 << (from & columnMask));
    if (columns === 0) {
      const above = this.#rowsOccupied & (-2 << row);
      if (above === 0) return none;
      row = lowestBit(above);
      columns = this.#classesOccupied[row] as number;
    }
    return (row << classBits) | lowestBit(columns);
  }

  /** The first block of `units` or more in the class of `units`, whose blocks may be shorter; or none. */
  #firstFit(units: number): number {
    const words = this.#words;
    let block = this.#heads[classOf(units)] as number;
    while (block !== none && (words[(block << wordShift) + unitsWord] as number) < units) {
      block = words[(block << wordShift) + nextWord] as number;
    }
    return block;
  }

  /** Cuts a block that is in no list down to `units`; the rest becomes a free block above it. */
  #split(block: number, units: number): void {
    const at = block << wordShift;
    const restUnits = (this.#words[at + unitsWord] as number) - units;
    if (restUnits === 0) return;
    const rest = this.#descriptor();
    // Not before: making a descriptor may replace the words.
    const words = this.#words;
    const restAt = rest << wordShift;
    const above = words[at + aboveWord] as number;
    words[at + unitsWord] = units;
    words[at + aboveWord] = rest;
    words[restAt + offsetWord] = (words[at + offsetWord] as number) + units;
    words[restAt + unitsWord] = restUnits;
    words[restAt + belowWord] = block;
    words[restAt + aboveWord] = above;
    words[(above << wordShift) + belowWord] = rest;
    this.#insert(rest);
  }

  /** Marks a block free and puts it at the head of its list (A3). */
  #insert(block: number): void {
    const words = this.#words;
    const at = block << wordShift;
    const sizeClass = classOf(words[at + unitsWord] as number);
    const next = this.#heads[sizeClass] as number;
    words[at + stateWord] = free;
    words[at + classWord] = sizeClass;
    words[at + previousWord] = none;
    words[at + nextWord] = next;
    words[(next << wordShift) + previousWord] = block;
    this.#heads[sizeClass] = block;
    // Set even if set already: a branch here is often mispredicted.
    const row = sizeClass >>> classBits;
    const columns = this.#classesOccupied[row] as number;
    this.#classesOccupied[row] = columns | (1 << (sizeClass & columnMask));
    this.#rowsOccupied |= 1 << row;
  }

  /** Takes a free block out of its list (A3); the caller sets its state. */
  #remove(block: number): void {
    const words = this.#words;
    const at = block << wordShift;
    const previous = words[at + previousWord] as number;
    const next = words[at + nextWord] as number;
    words[(next << wordShift) + previousWord] = previous;
    words[(previous << wordShift) + nextWord] = next;
    if (previous !== none) return;
    const sizeClass = words[at + classWord] as number;
    this.#heads[sizeClass] = next;
    if (next !== none) return;
    const row = sizeClass >>> classBits;
    const columns = (this.#classesOccupied[row] as number) & ~(1 << (sizeClass & columnMask));
    this.#classesOccupied[row] = columns;
    if (columns === 0) this.#rowsOccupied &= ~(1 << row);
  }

  /** Makes a descriptor spare. */
  #retire(block: number): void {
    this.#words[(block << wordShift) + stateWord] = spare;
    this.#words[(block << wordShift) + nextWord] = this.#spare;
    this.#spare = block;
  }

  /** A spare descriptor, from a pool of twice the size if none is left. */
  #descriptor(): number {
    const reused = this.#spare;
    if (reused !== none) {
      this.#spare = this.#words[(reused << wordShift) + nextWord] as number;
      return reused;
    }
    const block = this.#descriptorsUsed++;
    if (block << wordShift === this.#words.length) {
      const words = new Int32Array(this.#words.length * 2);
      words.set(this.#words);
      this.#words = words;
    }
    return block;
  }
}
