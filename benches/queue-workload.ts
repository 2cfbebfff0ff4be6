/** What every subject of the queue suite does: send numbered messages of one size, and see that they come in order. */

import type { MessagePort } from "node:worker_threads";

/** A way from one thread to another, as it crosses to the other. */
export interface Wire {
  readonly workload: string;
  readonly size: number;
  readonly capacity: number;
  readonly handle: unknown;
}

/** Sends so many messages; when it is done, the other side can get them all. */
export type Send = (messages: number) => void | Promise<void>;

/** Takes so many messages, in order; comes to the sum of their numbers, of 32 bits. */
export type Receive = (messages: number) => number | Promise<number>;

/** One subject. A thread opens each side of a wire once. */
export interface Workload {
  readonly name: string;
  open(size: number, capacity: number, threads: 1 | 2): Wire;
  sender(wire: Wire): Send;
  receiver(wire: Wire): Receive;
  /** The wire as the other thread gets it, and what moves there with it. Default: as it is. */
  cross?(wire: Wire): { readonly wire: Wire; readonly transfer: readonly MessagePort[] };
  /** False where only one thread can send: then there are no round trips. */
  readonly isOneWay?: boolean;
  close?(wire: Wire): void;
}

/** Whether receivers of this thread look at every byte: in a round of its own, which is not timed. */
export const verification = { isOn: false };

function patternAt(at: number): number {
  return (at * 31 + 7) & 0xff;
}

function verify(bytes: Uint8Array, size: number): void {
  if (bytes.length !== size) throw new Error(`${bytes.length} bytes came instead of ${size}`);
  for (let at = 4; at < size; at++)
    if (bytes[at] !== patternAt(at))
      throw new Error(`byte ${at} of ${size} was changed on the way`);
}

/** The messages of one sender: the same bytes again and again, with a number at the front. */
export class Source {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #words: Int32Array;
  #sent = 0;

  constructor(size: number) {
    // An array of eight bytes or more, aligned: what a program that cares for speed uses again.
    this.bytes = new Uint8Array(new ArrayBuffer(size)).map((_, at) => patternAt(at));
    this.#words = new Int32Array(this.bytes.buffer, 0, 1);
  }

  /** The next message. */
  next(): Uint8Array<ArrayBuffer> {
    this.#words[0] = this.#sent++;
    return this.bytes;
  }
}

/** What one receiver has seen. */
export class Sink {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #words: Int32Array;
  #seen = 0;
  #sum = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(new ArrayBuffer(size));
    this.#words = new Int32Array(this.bytes.buffer, 0, 1);
  }

  /** Looks at the message in `bytes`. @throws Error out of order, or changed on the way. */
  look(): void {
    if (verification.isOn) verify(this.bytes, this.bytes.length);
    this.see(this.#words[0] as number);
  }

  /** Looks at a message elsewhere. */
  lookAt(bytes: Uint8Array): void {
    if (verification.isOn) verify(bytes, this.bytes.length);
    this.see(
      (bytes[0] as number) |
        ((bytes[1] as number) << 8) |
        ((bytes[2] as number) << 16) |
        ((bytes[3] as number) << 24),
    );
  }

  see(number: number): void {
    if (number !== this.#seen++)
      throw new Error(`out of order: message ${number} instead of ${this.#seen - 1}`);
    // Of 32 bits: a remainder of doubles here took 20 ns a message, as long as the ring itself.
    this.#sum = (this.#sum + number) | 0;
  }

  /** The sum of what was seen since the last time. */
  take(): number {
    const sum = this.#sum;
    this.#sum = 0;
    return sum;
  }
}
