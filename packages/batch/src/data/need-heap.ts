/** What is needed last comes first: a binary heap of whatever may be moved out of memory. */

/** Something that is needed at a time; larger is later. */
export interface Needed {
  readonly need: number;
}

/** The heap. Each operation costs the logarithm of its size. */
export class NeedHeap<T extends Needed> {
  // The children of `i` are at 2i + 1 and 2i + 2, and are needed no later than it.
  readonly #items: T[] = [];

  /** The one that is needed last. */
  get last(): T | undefined {
    return this.#items[0];
  }

  push(item: T): void {
    const items = this.#items;
    let at = items.push(item) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = items[above] as T;
      if (parent.need >= item.need) break;
      items[at] = parent;
      at = above;
    }
    items[at] = item;
  }

  /** Takes the one that is needed last out. */
  pop(): T | undefined {
    const items = this.#items;
    const top = items[0];
    const moved = items.pop();
    if (moved === undefined || moved === top) return top;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      const right = left + 1;
      if (left >= items.length) break;
      const isRight = right < items.length && (items[right] as T).need > (items[left] as T).need;
      const below = isRight ? right : left;
      const child = items[below] as T;
      if (child.need <= moved.need) break;
      items[at] = child;
      at = below;
    }
    items[at] = moved;
    return top;
  }
}
