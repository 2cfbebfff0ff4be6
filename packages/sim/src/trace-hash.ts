/**
 * A rolling hash over all that happened: two runs are the same when it is. Checkpoints on the way tell where two runs
 * part.
 */
import type { Occurrence } from "./trace.ts";

/** Occurrences and events between two checkpoints. */
const checkpointEvery = 256;

/** 64 bits, in two words. */
export class TraceHash {
  /** The hash after every so many entries. */
  readonly checkpoints: string[] = [];
  #low = 0x243f6a88;
  #high = 0x85a308d3;
  #entries = 0;
  // Kinds come again and again.
  readonly #texts = new Map<string, number>();

  /** An event was taken. */
  event(atUs: number, kind: string): void {
    this.#number(atUs);
    this.#word(this.#textHash(kind));
    this.#entry();
  }

  /** Something was recorded. */
  occurrence({ atMs, node, kind, details }: Occurrence): void {
    this.#number(atMs);
    this.#word(this.#textHash(node));
    this.#word(this.#textHash(kind));
    for (const [name, value] of Object.entries(details)) {
      this.#word(this.#textHash(name));
      if (typeof value === "number") this.#number(value);
      else this.#word(textHash(`${typeof value} ${String(value)}`));
    }
    this.#entry();
  }

  /**
   * Data, such as a message: all that structured clone keeps, deep within too. Of an instance of a class of its own, only the
   * name of the class counts; of what is in several places, that it is. Costs time linear in its size.
   */
  value(value: unknown): void {
    this.#value(value, new Map());
    this.#entry();
  }

  /** Sixteen hexadecimal digits. */
  toString(): string {
    return hex(this.#high) + hex(this.#low);
  }

  #value(value: unknown, seen: Map<object, number>): void {
    if (typeof value === "number" && Number.isFinite(value)) return this.#number(value);
    if (typeof value !== "object" || value === null)
      // A function's text would count what a coverage run has added to it.
      return this.#word(
        textHash(`${typeof value} ${typeof value === "function" ? "" : String(value)}`),
      );
    const before = seen.get(value);
    if (before !== undefined) return this.#word(~before);
    seen.set(value, seen.size);
    this.#word(this.#textHash(nameOf(value)));
    for (const part of partsOf(value)) this.#value(part, seen);
    this.#word(seen.size);
  }

  #entry(): void {
    if (++this.#entries % checkpointEvery === 0) this.checkpoints.push(this.toString());
  }

  #number(value: number): void {
    // Fractions of a millisecond count too, and numbers beyond 32 bits.
    this.#word(Math.floor(value) | 0);
    this.#word(Math.floor(value / 4_294_967_296) | 0);
    this.#word(Math.round((value - Math.floor(value)) * 1_000_000));
  }

  #word(word: number): void {
    this.#low = Math.imul(this.#low ^ word, 0x01000193);
    this.#high = Math.imul((this.#high ^ (this.#low >>> 15)) + word, 0x85ebca6b);
    this.#high ^= this.#high >>> 13;
  }

  #textHash(text: string): number {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    const hash = textHash(text);
    this.#texts.set(text, hash);
    return hash;
  }
}

function textHash(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++)
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return hash;
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, "0");
}

function nameOf(value: object): string {
  const name: unknown = value.constructor?.name;
  return typeof name === "string" ? name : "";
}

/** What a value consists of: names and values, one after the other. */
function partsOf(value: object): Iterable<unknown> {
  if (Array.isArray(value)) return value;
  if (value instanceof Map) return [...value].flat();
  if (value instanceof Set) return value;
  if (value instanceof Date) return [value.getTime()];
  if (value instanceof RegExp) return [String(value)];
  if (value instanceof Error) return [value.name, value.message];
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value))
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null ? Object.entries(value).flat() : [];
}
