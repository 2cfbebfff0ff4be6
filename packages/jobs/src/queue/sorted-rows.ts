/** Rows that are kept in order. */

/** A sorted list. `add` and `delete` find their place in log n steps and move what stands behind it. */
export class SortedRows<T> {
  readonly #compare: (a: T, b: T) => number;
  #rows: T[] = [];

  /** `compare` is 0 for the same row only. */
  constructor(compare: (a: T, b: T) => number) {
    this.#compare = compare;
  }

  add(row: T): void {
    this.#rows.splice(this.#find(row), 0, row);
  }

  delete(row: T): void {
    const at = this.#find(row);
    const found = this.#rows[at];
    if (found !== undefined && this.#compare(found, row) === 0) this.#rows.splice(at, 1);
  }

  first(limit: number): readonly T[] {
    return this.#rows.slice(0, limit);
  }

  // The first place whose row does not stand before `row`.
  #find(row: T): number {
    let low = 0;
    let high = this.#rows.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compare(this.#rows[middle] as T, row) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
