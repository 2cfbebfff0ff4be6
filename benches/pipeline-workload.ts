/** What every side of the pipeline benchmark computes: a map, a filter, and the sum of what is left. */
export const map = (value: number): number => value * 3 + 1;
export const filter = (value: number): boolean => value % 2 === 0;

/** The items. */
export const itemsOf = (count: number): number[] =>
  Array.from({ length: count }, (_, index) => index % 1_000);

/** Arrays of `size`, the last one shorter. */
function* arraysOf(items: readonly number[], size: number): Generator<readonly number[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
}

/** The same, one wait each. */
export async function* slowArraysOf(
  items: readonly number[],
  size: number,
): AsyncGenerator<readonly number[]> {
  yield* arraysOf(items, size);
}

/** Items, one wait each. */
export async function* slowItemsOf(items: readonly number[]): AsyncGenerator<number> {
  for (const item of items) yield item;
}
