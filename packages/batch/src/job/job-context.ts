/**
 * The context maps of a job: what each task sees is what the job was given, and what the tasks before it returned, the
 * later over the earlier. What tasks beside it returned it does not see, and two that stand beside each other may not
 * write the same key: which of them came last would be chance.
 */
import { ancestry, neighbours, type DagShape } from "../graph/topology.ts";

/** A context, or what a task returns. */
export type JobMap = Readonly<Record<string, unknown>>;

interface Entry {
  readonly value: unknown;
  /** Which task wrote it; -1: it was given. */
  readonly task: number;
  /** Rises with every result. */
  readonly order: number;
}

interface View {
  readonly entries: ReadonlyMap<string, Entry>;
  readonly map: JobMap;
}

/** Two tasks of which neither is before the other have written one key. */
export interface KeyConflict {
  readonly key: string;
  readonly other: number;
}

/** The contexts of one job. */
export class JobContexts {
  readonly #shape: DagShape;
  readonly #isAncestor: (ancestor: number, node: number) => boolean;
  readonly #given: View;
  // What a task has seen, and what those after it see of it; by task, while anybody may ask.
  readonly #seen: (View | undefined)[] = [];
  readonly #after: (View | undefined)[] = [];
  readonly #unread: Int32Array;
  readonly #latest: Map<string, Entry>;
  #order = 0;

  constructor(shape: DagShape, given: JobMap) {
    this.#shape = shape;
    this.#isAncestor = ancestry(shape);
    this.#latest = new Map(
      Object.entries(given).map(([key, value]) => [key, { value, task: -1, order: 0 }]),
    );
    this.#given = viewOf(new Map(this.#latest));
    this.#unread = new Int32Array(shape.count);
    for (let task = 0; task < shape.count; task++)
      this.#unread[task] = neighbours(shape.after, task).length;
  }

  /** What a task sees, frozen: at each attempt the same. */
  seenBy(task: number): JobMap {
    return (this.#seen[task] ??= this.#look(task)).map;
  }

  /** Takes what a task returned; nothing of it where a key of it is another's. */
  commit(task: number, result: JobMap): KeyConflict | undefined {
    const keys = Object.keys(result);
    const seen = this.#seen[task] ?? this.#look(task);
    this.#seen[task] = undefined;
    if (keys.length === 0) {
      this.#after[task] = seen;
      return undefined;
    }
    // Of one key's writers each is before the next: asking for the last one asks for all.
    for (const key of keys) {
      const other = this.#latest.get(key)?.task ?? -1;
      if (other >= 0 && !this.#isAncestor(other, task)) return { key, other };
    }
    const entries = new Map(seen.entries);
    const order = ++this.#order;
    for (const key of keys) {
      const entry = { value: result[key], task, order };
      entries.set(key, entry);
      this.#latest.set(key, entry);
    }
    // Nobody reads the last ones' but the job.
    if (this.#unread[task] !== 0) this.#after[task] = viewOf(entries);
    return undefined;
  }

  /** What all have returned so far, over what was given. */
  all(): Record<string, unknown> {
    return objectOf(this.#latest);
  }

  #look(task: number): View {
    let view: View | undefined;
    let merged: Map<string, Entry> | undefined;
    const { at, to } = this.#shape.before;
    for (let edge = at[task] as number; edge < (at[task + 1] as number); edge++) {
      const before = to[edge] as number;
      const next = this.#after[before] as View;
      this.#unread[before] = (this.#unread[before] as number) - 1;
      if (this.#unread[before] === 0) this.#after[before] = undefined;
      if (view === undefined || view === next) view = next;
      else merged = merge((merged ??= new Map(view.entries)), next);
    }
    return merged === undefined ? (view ?? this.#given) : viewOf(merged);
  }
}

function merge(into: Map<string, Entry>, { entries }: View): Map<string, Entry> {
  for (const [key, entry] of entries) {
    const there = into.get(key);
    if (there === undefined || there.order < entry.order) into.set(key, entry);
  }
  return into;
}

function viewOf(entries: ReadonlyMap<string, Entry>): View {
  return { entries, map: Object.freeze(objectOf(entries)) };
}

function objectOf(entries: ReadonlyMap<string, Entry>): Record<string, unknown> {
  const map: Record<string, unknown> = {};
  for (const [key, { value }] of entries)
    // Assigned, this one would be the object's prototype.
    if (key === "__proto__")
      Object.defineProperty(map, key, {
        value,
        enumerable: true,
        writable: true,
        configurable: true,
      });
    else map[key] = value;
  return map;
}

/** True for what a task may return: a plain object. */
export function isMap(value: unknown): value is JobMap {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  // Of any realm's `Object`.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
