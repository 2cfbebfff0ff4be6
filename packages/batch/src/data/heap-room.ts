/** Room for an output that found none in leased memory: bytes of the attempt's own, until they have a place. */
import type { Loan } from "@selvage/fabric";

/** What an attempt lays its output in: a lease, or a room. */
export interface Lendable {
  lend(options?: { readonly write?: boolean }): Loan;
}

// Nobody is waiting for these bytes.
const end = (): void => {};

/** Bytes that are nobody's lease. */
export class HeapRoom implements Lendable {
  #bytes: Uint8Array<ArrayBuffer>;

  constructor(bytes: number) {
    this.#bytes = new Uint8Array(bytes);
  }

  lend(): Loan {
    return { view: this.#bytes, lapsed: false, end, [Symbol.dispose]: end };
  }

  /** Takes the first `bytes` bytes out: whoever still has a view of them has an empty one. */
  take(bytes: number): Uint8Array {
    const buffer = this.#bytes.buffer.transfer();
    this.#bytes = new Uint8Array(0);
    return new Uint8Array(buffer, 0, bytes);
  }
}
