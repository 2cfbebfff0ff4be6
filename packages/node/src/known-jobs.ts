/** Rows that need not be read again: those that this process has written or read of late, while no other has written. */
import { PHASES, type JobRow, type Payload } from "@selvage/jobs";

/** How many jobs that have not ended are kept, and how many that have: these are asked for once more at most. */
const liveMax = 4_096;
const endedMax = 1_024;
/** A job with more of its own than that, in bytes and characters, is read each time. */
const weightMax = 2_048;

/** What is known of a job beside its row; undefined is not known. */
export interface Links {
  parents: number[] | undefined;
  children: number[] | undefined;
  hasNoFailures: boolean;
}

interface Known extends Links {
  row: JobRow;
}

/** Keeps copies, and gives copies: who changes one changes nothing here. Holds at most some 10 MB. */
export class KnownJobs {
  readonly #live = new Map<number, Known>();
  readonly #ended = new Map<number, Known>();
  readonly #seqs = new Map<string, number>();
  #version = -1;

  /** Forgets all that was known as of another version of the file. */
  asOf(version: number): void {
    if (version === this.#version) return;
    this.clear();
    this.#version = version;
  }

  clear(): void {
    this.#live.clear();
    this.#ended.clear();
    this.#seqs.clear();
  }

  at(seq: number): JobRow | undefined {
    const known = this.#known(seq);
    return known === undefined ? undefined : copyOf(known.row);
  }

  byId(id: string): JobRow | undefined {
    const seq = this.#seqs.get(id);
    return seq === undefined ? undefined : this.at(seq);
  }

  linksOf(seq: number): Links | undefined {
    return this.#known(seq);
  }

  /** Takes a job that nothing depends on yet, nor it on anything. */
  putNew(row: JobRow): void {
    this.#add({ row: copyOf(row), parents: [], children: [], hasNoFailures: true });
  }

  /** Takes a row as it is now, and gives it back. */
  put<T extends JobRow | undefined>(row: T): T {
    if (row === undefined) return row;
    const known = this.#known(row.seq);
    if (known === undefined) {
      const links = { parents: undefined, children: undefined, hasNoFailures: false };
      this.#add({ row: copyOf(row), ...links });
      return row;
    }
    const was = known.row.phase;
    known.row = copyOf(row);
    if (isOver(was) !== isOver(row.phase)) {
      this.#drop(known);
      this.#add(known);
    }
    return row;
  }

  /** A job depends on another one now. */
  depend(parentSeq: number, childSeq: number): void {
    const parent = this.#known(parentSeq);
    const child = this.#known(childSeq);
    if (parent !== undefined) parent.children = withNext(parent.children, childSeq);
    if (child !== undefined) child.parents = withNext(child.parents, parentSeq);
  }

  #known(seq: number): Known | undefined {
    return this.#live.get(seq) ?? this.#ended.get(seq);
  }

  #add(known: Known): void {
    const { row } = known;
    if (weightOf(row) > weightMax) return;
    if (isOver(row.phase)) {
      const [oldest] = this.#ended.size < endedMax ? [] : this.#ended.values();
      if (oldest !== undefined) this.#drop(oldest);
      this.#ended.set(row.seq, known);
      // The first ones are kept: they are claimed first.
    } else if (this.#live.size < liveMax) this.#live.set(row.seq, known);
    else return;
    this.#seqs.set(row.id, row.seq);
  }

  #drop({ row: { seq, id } }: Known): void {
    this.#live.delete(seq);
    this.#ended.delete(seq);
    this.#seqs.delete(id);
  }
}

function isOver(phase: JobRow["phase"]): boolean {
  return phase > PHASES.running;
}

// In the order of their numbers, as the store has them; not known any more where that is not their order.
function withNext(links: number[] | undefined, seq: number): number[] | undefined {
  const last = links?.at(-1);
  if (last !== undefined && last >= seq) return undefined;
  links?.push(seq);
  return links;
}

function weightOf({ args, result, notes, metadata }: JobRow): number {
  return (
    bytesOf(args) + bytesOf(result) + (notes === null ? 0 : notes.length) + (metadata?.length ?? 0)
  );
}

function bytesOf(payload: Payload | null): number {
  return payload?.kind === "inline" ? payload.bytes.length : 0;
}

function copyOf(row: JobRow): JobRow {
  return { ...row };
}
