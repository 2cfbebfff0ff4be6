/** Orders of a directed graph whose nodes are 0 to n - 1. Both take time in nodes plus edges. */

/** A cycle, its first node repeated at its end; undefined if there is none. Without recursion: chains are long. */
export function findCycle(successors: readonly (readonly number[])[]): number[] | undefined {
  const unseen = 0;
  const onPath = 1;
  const done = 2;
  const marks = new Uint8Array(successors.length);
  for (let root = 0; root < successors.length; root++) {
    if (marks[root] !== unseen) continue;
    const path = [root];
    const nextEdge = [0];
    marks[root] = onPath;
    while (path.length > 0) {
      const node = path.at(-1) as number;
      const edge = nextEdge[path.length - 1] as number;
      const next = successors[node]?.[edge];
      if (next === undefined) {
        marks[node] = done;
        path.pop();
        nextEdge.pop();
        continue;
      }
      nextEdge[path.length - 1] = edge + 1;
      if (marks[next] === onPath) return [...path.slice(path.indexOf(next)), next];
      if (marks[next] === done) continue;
      marks[next] = onPath;
      path.push(next);
      nextEdge.push(0);
    }
  }
  return undefined;
}

/** The nodes by waves: each node stands in the first wave after all of its predecessors'. Order as numbered. */
export function levels(
  successors: readonly (readonly number[])[],
  predecessors: readonly (readonly number[])[],
): number[][] {
  const waiting = predecessors.map((before) => before.length);
  const waves: number[][] = [];
  let wave = [...waiting.keys()].filter((node) => waiting[node] === 0);
  while (wave.length > 0) {
    waves.push(wave);
    const next: number[] = [];
    for (const node of wave)
      for (const after of successors[node] ?? [])
        if (--(waiting as number[])[after]! === 0) next.push(after);
    wave = next.toSorted((a, b) => a - b);
  }
  return waves;
}
