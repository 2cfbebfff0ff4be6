/** Graphs of tasks that do nothing, as the predecessors of each. */

/** A graph of `count` tasks: one before all and one after all, a chain, or rows of 100 with two before each. */
export function predecessorsOf(shape: string, count: number): readonly (readonly number[])[] {
  return Array.from({ length: count }, (_, at) => {
    switch (shape) {
      case "wide":
        if (at === 0) return [];
        if (at < count - 1) return [0];
        return Array.from({ length: count - 2 }, (_one, one) => one + 1);
      case "deep":
        return at === 0 ? [] : [at - 1];
      case "layered": {
        const row = Math.floor(at / 100) - 1;
        return row < 0 ? [] : [row * 100 + (at % 100), row * 100 + ((at + 1) % 100)];
      }
      default:
        throw new Error(`no shape ${shape}`);
    }
  });
}

/** Pairs of a task and one after it, flat. */
export function edgesOf(before: readonly (readonly number[])[]): Int32Array {
  const edges = new Int32Array(2 * before.reduce((sum, all) => sum + all.length, 0));
  let end = 0;
  for (const [at, all] of before.entries())
    for (const one of all) {
      edges[end++] = one;
      edges[end++] = at;
    }
  return edges;
}
