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
  hasEnded: boolean;
}

/** Keeps copies, and gives copies: who changes one changes nothing here. Holds at most some 10 MB. */
export class KnownJobs {
  readonly #jobs = new Map<number, Known>();
  readonly #seqs = new Map<string, number>();
  // Those that have ended, in a circle: one more takes the place of the oldest.
  #ended: (Known | undefined)[] = [];
  #endedAt = 0;
  #live = 0;
  #version = -1;

  /** Forgets all that was known as of another version of the file. */
  asOf(version: number): void {
    if (version === this.#version) return;
    this.clear();
    this.#version = version;
  }

  clear(): void {
    this.#jobs.clear();
    this.#seqs.clear();
    this.#ended = [];
    this.#endedAt = 0;
    this.#live = 0;
  }

  at(seq: number): JobRow | undefined {
    const known = this.#jobs.get(seq);
    return known === undefined ? undefined : { ...known.row };
  }

  byId(id: string): JobRow | undefined {
    const seq = this.#seqs.get(id);
    return seq === undefined ? undefined : this.at(seq);
  }

  linksOf(seq: number): Links | undefined {
    return this.#jobs.get(seq);
  }

  /** Takes a job that nothing depends on yet, nor it on anything. */
  putNew(row: JobRow): void {
    this.#add({ row, parents: [], children: [], hasNoFailures: true, hasEnded: false });
  }

  /** Takes a row as it is now, and gives it back. */
  put<T extends JobRow | undefined>(row: T): T {
    if (row === undefined) return row;
    const known = this.#jobs.get(row.seq);
    if (known === undefined) {
      const links = { parents: undefined, children: undefined, hasNoFailures: false };
      this.#add({ row: { ...row }, ...links, hasEnded: false });
      return row;
    }
    known.row = { ...row };
    const isOver = isEnd(row);
    // A replayed one is read again: few are.
    if (known.hasEnded && !isOver) this.clear();
    else if (weightOf(row) > weightMax) this.#drop(known);
    else if (isOver && !known.hasEnded) this.#end(known);
    return row;
  }

  /** A job depends on another one now. */
  depend(parentSeq: number, childSeq: number): void {
    const parent = this.#jobs.get(parentSeq);
    const child = this.#jobs.get(childSeq);
    if (parent !== undefined) parent.children = withNext(parent.children, childSeq);
    if (child !== undefined) child.parents = withNext(child.parents, parentSeq);
  }

  #add(known: Known): void {
    const { row } = known;
    // The first ones are kept: they are claimed first.
    if (this.#live >= liveMax || weightOf(row) > weightMax) return;
    this.#live++;
    this.#jobs.set(row.seq, known);
    this.#seqs.set(row.id, row.seq);
    if (isEnd(row)) this.#end(known);
  }

  #drop(known: Known): void {
    if (known.hasEnded) return this.clear();
    this.#live--;
    this.#jobs.delete(known.row.seq);
    this.#seqs.delete(known.row.id);
  }

  #end(known: Known): void {
    known.hasEnded = true;
    this.#live--;
    const oldest = this.#ended[this.#endedAt]?.row;
    if (oldest !== undefined) {
      this.#jobs.delete(oldest.seq);
      this.#seqs.delete(oldest.id);
    }
    this.#ended[this.#endedAt] = known;
    this.#endedAt = (this.#endedAt + 1) % endedMax;
  }
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

function isEnd({ phase }: JobRow): boolean {
  return phase > PHASES.running;
}
