/**
 * Directed graphs whose nodes are 0 to n - 1, in flat arrays: a node costs some 30 bytes, an edge 8, and no walk makes
 * an object. None recurses: chains are long.
 */

/** What leads from each node to others: those of node n stand in `to` from `at[n]` up to `at[n + 1]`. */
export interface Adjacency {
  readonly at: Int32Array;
  readonly to: Int32Array;
}

/** Most ranks of {@link DagShape}: a queue by rank finds its highest in two words. */
const ranksMax = 1_024;

/** A directed graph without cycles, with all that a scheduler asks of it. */
export class DagShape {
  readonly count: number;
  /** From each node to those directly after it, each once. */
  readonly after: Adjacency;
  /** From each node to those directly before it, each once. */
  readonly before: Adjacency;
  /** How many nodes are directly before each. */
  readonly waitsFor: Int32Array;
  /** The more nodes directly after one, the higher its rank; equal numbers, equal ranks. */
  readonly rankOf: Uint16Array;
  readonly ranks: number;
  /** Each node stands in the first wave after all of those before it. */
  readonly waveOf: Int32Array;
  /** From each wave to its nodes, in their order. */
  readonly waves: Adjacency;

  /** For {@link shapeOf}. */
  constructor(after: Adjacency, before: Adjacency, waveOf: Int32Array, waveCount: number) {
    this.count = waveOf.length;
    this.after = after;
    this.before = before;
    this.waveOf = waveOf;
    this.waitsFor = degrees(before);
    this.waves = grouped(waveOf, waveCount);
    const fanOut = degrees(after);
    const distinct = [...new Set(fanOut)].toSorted((a, b) => a - b);
    // Beyond that many, the nodes with the fewest after them share a rank.
    const shared = Math.max(0, distinct.length - ranksMax);
    const rankByDegree = new Map(distinct.map((degree, at) => [degree, Math.max(0, at - shared)]));
    this.ranks = Math.max(1, distinct.length - shared);
    this.rankOf = new Uint16Array(this.count);
    for (let node = 0; node < this.count; node++)
      this.rankOf[node] = rankByDegree.get(fanOut[node] as number) as number;
  }

  /** How many waves there are. */
  get waveCount(): number {
    return this.waves.at.length - 1;
  }
}

/**
 * The shape of `count` nodes with `edges`: pairs of a node and one after it, flat; a pair given twice counts once. Where
 * there is a cycle, that: its nodes in order, the first one repeated at the end. Takes time in nodes plus edges.
 */
export function shapeOf(count: number, edges: ArrayLike<number>): DagShape | Cycle {
  const after = adjacency(count, edges);
  const before = reversed(after);
  const waitsFor = degrees(before);
  const waveOf = new Int32Array(count);
  const order = new Int32Array(count);
  let ordered = 0;
  let waveCount = count === 0 ? 0 : 1;
  for (let node = 0; node < count; node++) if (waitsFor[node] === 0) order[ordered++] = node;
  for (let next = 0; next < ordered; next++) {
    const node = order[next] as number;
    const wave = (waveOf[node] as number) + 1;
    for (let edge = after.at[node] as number; edge < (after.at[node + 1] as number); edge++) {
      const to = after.to[edge] as number;
      // Nodes come wave by wave: the last one before `to` is of the latest.
      waveOf[to] = wave;
      if ((waitsFor[to] = (waitsFor[to] as number) - 1) > 0) continue;
      order[ordered++] = to;
      waveCount = wave + 1;
    }
  }
  return ordered === count ? new DagShape(after, before, waveOf, waveCount) : findCycle(after);
}

/** A closed cycle. */
export interface Cycle {
  /** Its nodes in order, the first one repeated at the end: where the walk that found it came in. */
  readonly cycle: readonly number[];
  /** True if the walk began on the cycle: then nothing that was walked before leads into it. */
  readonly isFromRoot: boolean;
}

function findCycle({ at, to }: Adjacency): Cycle {
  const count = at.length - 1;
  const unseen = 0;
  const onPath = 1;
  const done = 2;
  const marks = new Uint8Array(count);
  const path = new Int32Array(count);
  const nextEdge = at.slice(0, count);
  for (let root = 0; root < count; root++) {
    if (marks[root] !== unseen) continue;
    let depth = 1;
    path[0] = root;
    marks[root] = onPath;
    while (depth > 0) {
      const node = path[depth - 1] as number;
      const edge = nextEdge[node] as number;
      if (edge === at[node + 1]) {
        marks[node] = done;
        depth--;
        continue;
      }
      nextEdge[node] = edge + 1;
      const next = to[edge] as number;
      if (marks[next] === onPath) {
        const begin = path.indexOf(next);
        return { cycle: [...path.subarray(begin, depth), next], isFromRoot: begin === 0 };
      }
      if (marks[next] === done) continue;
      marks[next] = onPath;
      path[depth++] = next;
    }
  }
  throw new RangeError("no cycle in a graph without one");
}

/**
 * Answers whether one node is before another. An answer takes time in the edges between the two, a direct predecessor
 * its siblings: a table of all pairs would take gigabytes for a chain of 10,000.
 */
export function ancestry({
  before,
  waveOf,
  count,
}: DagShape): (ancestor: number, node: number) => boolean {
  // Which question a node was last seen in, so that no question has to clear the marks.
  const seenIn = new Int32Array(count);
  let question = 0;
  return (ancestor, node) => {
    question++;
    const wave = waveOf[ancestor] as number;
    const stack = [node];
    for (let at = stack.pop(); at !== undefined; at = stack.pop())
      for (let edge = before.at[at] as number; edge < (before.at[at + 1] as number); edge++) {
        const one = before.to[edge] as number;
        if (one === ancestor) return true;
        if (seenIn[one] === question || (waveOf[one] as number) <= wave) continue;
        seenIn[one] = question;
        stack.push(one);
      }
    return false;
  };
}

/** The nodes that `adjacency` leads to from `node`. */
export function neighbours({ at, to }: Adjacency, node: number): Int32Array {
  return to.subarray(at[node], at[node + 1]);
}

function adjacency(count: number, edges: ArrayLike<number>): Adjacency {
  const at = new Int32Array(count + 1);
  for (let edge = 0; edge < edges.length; edge += 2) bump(at, (edges[edge] as number) + 1);
  for (let node = 0; node < count; node++)
    at[node + 1] = (at[node + 1] as number) + (at[node] as number);
  const to = new Int32Array(edges.length >> 1);
  const free = at.slice();
  for (let edge = 0; edge < edges.length; edge += 2) {
    const from = edges[edge] as number;
    to[bump(free, from)] = edges[edge + 1] as number;
  }
  return withoutDoubles({ at, to });
}

function withoutDoubles({ at, to }: Adjacency): Adjacency {
  const count = at.length - 1;
  const seenFrom = new Int32Array(count).fill(-1);
  let kept = 0;
  let begin = 0;
  for (let node = 0; node < count; node++) {
    const end = at[node + 1] as number;
    for (let edge = begin; edge < end; edge++) {
      const one = to[edge] as number;
      if (seenFrom[one] === node) continue;
      seenFrom[one] = node;
      to[kept++] = one;
    }
    begin = end;
    at[node + 1] = kept;
  }
  return kept === to.length ? { at, to } : { at, to: to.slice(0, kept) };
}

function reversed({ at, to }: Adjacency): Adjacency {
  const count = at.length - 1;
  const edges = new Int32Array(to.length * 2);
  for (let node = 0; node < count; node++)
    for (let edge = at[node] as number; edge < (at[node + 1] as number); edge++) {
      edges[edge * 2] = to[edge] as number;
      edges[edge * 2 + 1] = node;
    }
  return adjacency(count, edges);
}

function grouped(groupOf: Int32Array, groups: number): Adjacency {
  const at = new Int32Array(groups + 1);
  for (const group of groupOf) bump(at, group + 1);
  for (let group = 0; group < groups; group++)
    at[group + 1] = (at[group + 1] as number) + (at[group] as number);
  const to = new Int32Array(groupOf.length);
  const free = at.slice();
  for (let node = 0; node < groupOf.length; node++) to[bump(free, groupOf[node] as number)] = node;
  return { at, to };
}

function degrees({ at }: Adjacency): Int32Array {
  const counts = new Int32Array(at.length - 1);
  for (let node = 0; node < counts.length; node++)
    counts[node] = (at[node + 1] as number) - (at[node] as number);
  return counts;
}

/** Adds one, and gives what was there. */
function bump(counts: Int32Array, at: number): number {
  const was = counts[at] as number;
  counts[at] = was + 1;
  return was;
}
