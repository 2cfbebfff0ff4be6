/** What is needed last comes first: a binary heap of whatever may be moved out of memory. */

/** Something that is needed at a time; larger is later. */
export interface Needed {
  readonly need: number;
  /** Where it stands in the heap, which writes this; -1: it is in none. */
  heapAt: number;
}

/** The heap. Each operation costs the logarithm of its size. */
export class NeedHeap<T extends Needed> {
  // The children of `i` are at 2i + 1 and 2i + 2, and are needed no later than it.
  readonly #items: T[] = [];

  /** The one that is needed last. */
  get last(): T | undefined {
    return this.#items[0];
  }

  /** Adds one that is in no heap. */
  push(item: T): void {
    this.#rise(this.#items.push(item) - 1, item);
  }

  /** Takes one out, if it is in: what nobody needs any more is not to be kept for the heap's sake. */
  remove(item: T): void {
    const at = item.heapAt;
    if (at < 0) return;
    item.heapAt = -1;
    const moved = this.#items.pop() as T;
    if (moved === item) return;
    const above = this.#items[(at - 1) >> 1];
    if (above !== undefined && above.need < moved.need) this.#rise(at, moved);
    else this.#sink(at, moved);
  }

  #rise(from: number, item: T): void {
    let at = from;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = this.#items[above] as T;
      if (parent.need >= item.need) break;
      this.#set(at, parent);
      at = above;
    }
    this.#set(at, item);
  }

  #sink(from: number, item: T): void {
    const items = this.#items;
    let at = from;
    for (;;) {
      const left = 2 * at + 1;
      const right = left + 1;
      if (left >= items.length) break;
      const isRight = right < items.length && (items[right] as T).need > (items[left] as T).need;
      const below = isRight ? right : left;
      const child = items[below] as T;
      if (child.need <= item.need) break;
      this.#set(at, child);
      at = below;
    }
    this.#set(at, item);
  }

  #set(at: number, item: T): void {
    this.#items[at] = item;
    item.heapAt = at;
  }
}
