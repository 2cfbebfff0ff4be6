/** Orders of a directed graph whose nodes are 0 to n - 1. None recurses: chains are long. */

/** A cycle, its first node repeated at its end; undefined if there is none. Takes time in nodes plus edges. */
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

/** The nodes by waves: each node stands in the first wave after all of its predecessors'. Order as numbered. Time as above. */
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
        if ((waiting[after] = (waiting[after] as number) - 1) === 0) next.push(after);
    wave = next.toSorted((a, b) => a - b);
  }
  return waves;
}

/**
 * Answers whether one node is before another, given each node's wave. An answer takes time in the edges between the
 * two, a direct predecessor none: a table of all pairs would take gigabytes for a chain of 10,000.
 */
export function ancestry(
  predecessors: readonly (readonly number[])[],
  waveOf: ArrayLike<number>,
): (ancestor: number, node: number) => boolean {
  // Which question a node was last seen in, so that no question has to clear the marks.
  const seenIn = new Int32Array(predecessors.length);
  let question = 0;
  return (ancestor, node) => {
    if (predecessors[node]?.includes(ancestor) === true) return true;
    question++;
    const wave = waveOf[ancestor] as number;
    const stack = [node];
    for (let at = stack.pop(); at !== undefined; at = stack.pop())
      for (const before of predecessors[at] ?? []) {
        if (before === ancestor) return true;
        if (seenIn[before] === question || (waveOf[before] as number) <= wave) continue;
        seenIn[before] = question;
        stack.push(before);
      }
    return false;
  };
}
