/**
 * What is known from outside of runs under ids: what was made, by whom and of what, and what was told as committed. It
 * outlives the process, as whoever watches it does.
 */
import { sometimes, Violation, type Check } from "@selvage/sim";

/** An output, as it is written: who made it, which time, of what, and what everybody would have made of it. */
export interface Made {
  readonly task: string;
  /** Which body made it: no two share one. */
  readonly nonce: number;
  /** Who made what it read. */
  readonly of: readonly number[];
  /** The same whoever made it. */
  readonly value: number;
  readonly filling: string;
}

/** D2. */
export const once = "D2: what has committed is not computed again";
/** D2. */
export const same =
  "D2: what is read is what was committed, and what a run without a crash had made";
/** C2. */
export const inOrder = "C2: what says that a task has committed is durable after its outputs";
/** C1. */
export const told = "C1: damage is told, and its task run again";
/** C3. */
export const oneRunner = "C3: one run of an id is at work at a time, and of one plan";
/** D2. */
export const gone = "D2: a run that has succeeded leaves nothing behind, after one TTL at most";

/** Shortest time that a checkpoint must still have for whoever takes it up: no pause, and no slow disk, takes so long. */
const safeMs = 6_000;

/** What has befallen the disk of each node. */
export class DiskHarm {
  readonly #flipped = new Set<string>();
  readonly #lied = new Set<string>();
  readonly #failed = new Map<string, number>();

  /** Looks on, and holds nothing to anything. */
  readonly watch: Check = {
    name: "harm",
    observe: ({ kind, node }) => {
      if (kind === "disk.flipped") this.#flipped.add(node);
      if (kind === "disk.misdirected" || kind === "disk.lied") this.#lied.add(node);
      if (kind === "disk.failed") this.#failed.set(node, this.failures(node) + 1);
    },
  };

  /** Whether a node's disk has given other bytes than it was given: only bits, which a checksum tells, or anything. */
  of(node: string): "none" | "bits" | "any" {
    if (this.#lied.has(node)) return "any";
    return this.#flipped.has(node) ? "bits" : "none";
  }

  /** How many operations of a node's disk have failed. */
  failures(node: string): number {
    return this.#failed.get(node) ?? 0;
  }
}

/** What a book begins with. */
export interface BookOptions {
  /** What a run without a crash makes of each task. */
  readonly values: ReadonlyMap<string, number>;
  /** Whether checkpoints outlast whatever befalls a process. */
  readonly isLasting: boolean;
  /** Most bodies that fail by themselves, and runs that are stopped: each run ends in the end. */
  readonly mischiefMost: number;
}

/** One node's runs, one after the other, each under its own id until it has succeeded. */
export class Book {
  readonly #node: string;
  readonly #harm: DiskHarm;
  readonly #values: ReadonlyMap<string, number>;
  readonly #mischiefMost: number;
  #id = 1;
  #nonces = 0;
  // All that was ever made, under whatever id.
  readonly #ever = new Map<number, Made>();
  // Of this run: all that was ever made of a task, and what counts.
  readonly #made = new Map<string, Map<number, Made>>();
  readonly #committed = new Map<string, number>();
  readonly #restored = new Set<string>();
  readonly #told = new Set<string | undefined>();
  // Until when its leases stand at least, by what was seen when something committed.
  #standsUntilMs: number;
  // Before that: for ever, where they outlast whatever befalls a process.
  readonly #atFirstMs: number;
  // Whether what is known counts for this life: not once leases may have run out, or all may have been cleared.
  #isStrict = true;
  // The same, for all lives of this run: then what was made of one another may have been made again since.
  #isWhole = true;
  #mayBeCleared = false;
  #mischief = 0;

  constructor(node: string, harm: DiskHarm, { values, isLasting, mischiefMost }: BookOptions) {
    this.#node = node;
    this.#harm = harm;
    this.#values = values;
    this.#mischiefMost = mischiefMost;
    this.#atFirstMs = isLasting ? Infinity : -Infinity;
    this.#standsUntilMs = this.#atFirstMs;
  }

  /** The id of the run that is to be done. */
  get runId(): string {
    return `run ${this.#id}`;
  }

  /** Whether whoever takes this run up now must find what was committed. */
  mustResume(nowMs: number): boolean {
    return this.#committed.size > 0 && this.#isSound && this.#isSafe(nowMs);
  }

  // Neither may it have been cleared, nor have its leases run out.
  #isSafe(nowMs: number): boolean {
    return !this.#mayBeCleared && nowMs + safeMs < this.#standsUntilMs;
  }

  get #isSound(): boolean {
    return this.#harm.of(this.#node) === "none";
  }

  /** Whether one more thing may go wrong that no fault plan has. */
  mayFail(): boolean {
    return this.#mischief++ < this.#mischiefMost;
  }

  /** Somebody is about to take the run up. */
  opens(nowMs: number, fabricTold: boolean): void {
    this.#restored.clear();
    this.#told.clear();
    if (fabricTold) this.#told.add(undefined);
    this.#isStrict = this.#isSafe(nowMs);
    this.#isWhole &&= this.#isStrict && this.#isSound;
    sometimes("a checkpoint may have run out before it was taken up", !this.#isStrict);
  }

  /** Whoever was about to take it up was refused. */
  refuses(code: string, message: string): void {
    // Whose leases cannot have run out finds them.
    if (code === "LEASE_EXPIRED" && this.#isStrict && this.#isSound)
      throw new Violation(oneRunner, `${this.runId} was refused: ${message}`);
  }

  /** A body begins. */
  begins(task: string): void {
    if (this.#restored.has(task)) throw new Violation(once, `${task} was restored, and runs`);
    if (!this.#committed.has(task)) return;
    const harm = this.#harm.of(this.#node);
    if (this.#isStrict && harm === "none") throw new Violation(once, `${task} runs again`);
    const isTold = this.#told.has(task) || this.#told.has(undefined);
    if (this.#isStrict && harm === "bits" && !isTold)
      throw new Violation(told, `${task} runs again, and nothing was told`);
    this.#committed.delete(task);
  }

  /** A body has made its outputs. */
  makes(task: string, of: readonly Made[], filling: string): Made {
    const value = this.#values.get(task) ?? -1;
    const made = { task, nonce: ++this.#nonces, of: of.map(({ nonce }) => nonce), value, filling };
    const all = this.#made.get(task) ?? new Map<number, Made>();
    this.#made.set(task, all.set(made.nonce, made));
    this.#ever.set(made.nonce, made);
    return made;
  }

  /** A task was told as succeeded: of what `nonce` made, or, undefined, of an earlier life. */
  commits(task: string, nonce: number | undefined, standsUntilMs: number): void {
    this.#standsUntilMs = standsUntilMs;
    if (nonce === undefined) {
      if (!this.#restored.has(task)) throw new Violation(same, `${task} succeeded, made by nobody`);
      return;
    }
    if (this.#committed.has(task)) throw new Violation(once, `${task} commits again`);
    this.#committed.set(task, nonce);
  }

  /** A resumed run has told what it found. */
  finds(state: "restored" | "damaged", task: string | undefined, error: unknown): void {
    if (state === "restored") {
      sometimes("a committed output was found by the next life");
      sometimes("an output was found that nobody was told of", !this.#committed.has(task ?? ""));
      if (this.#made.get(task ?? "") === undefined && this.#harm.of(this.#node) !== "any")
        throw new Violation(same, `${task} was restored, and never made`);
      this.#restored.add(task ?? "");
      return;
    }
    this.#told.add(task);
    sometimes("damage was told");
    if (!this.#isSound) return;
    // A slot that was being written when the power failed is torn; what a whole one names is there. A seed in hundreds may
    // have none.
    sometimes("a slot was torn", task !== undefined && error === undefined);
    if (!this.#isStrict) return;
    const why = error instanceof Error ? error.message : "its slot";
    if (task === undefined ? this.#committed.size > 0 : error !== undefined)
      throw new Violation(inOrder, `${task ?? "everything"} is damaged on a sound disk: ${why}`);
  }

  /** Holds an output to what was committed. Throws where it is another. */
  reads(task: string, found: Made): void {
    // A disk that lies may bring up what an earlier run has made.
    const isAny = this.#harm.of(this.#node) === "any";
    const made = (isAny ? this.#ever : this.#made.get(task))?.get(found.nonce);
    if (made === undefined || JSON.stringify(made) !== JSON.stringify(found))
      throw new Violation(same, `${task}: read what nobody made: ${JSON.stringify(found)}`);
    const committed = this.#committed.get(task);
    if (committed === undefined) this.#committed.set(task, found.nonce);
    else if (committed !== found.nonce && !isAny)
      if (this.#isStrict || !this.#restored.has(task))
        throw new Violation(same, `${task}: read ${found.nonce}, committed was ${committed}`);
  }

  /** All outputs of a run that has succeeded, by their tasks. */
  checkWhole(
    outputs: ReadonlyMap<string, Made>,
    before: (task: string) => readonly string[],
  ): void {
    for (const [task, made] of outputs) {
      const of = before(task).map((one) => outputs.get(one)?.nonce);
      if (this.#isWhole && this.#isSound && JSON.stringify(of) !== JSON.stringify(made.of))
        throw new Violation(same, `${task} was made of ${made.of.join()}, but ${of.join()} count`);
    }
  }

  /** Its last task has ended well: from now on it may be cleared. */
  settles(): void {
    this.#mayBeCleared = true;
  }

  /** The run has succeeded, and whoever asked for it was told: the next one begins anew, under the same id or another. */
  next(isSameId: boolean): void {
    if (!isSameId) this.#id++;
    this.#made.clear();
    this.#committed.clear();
    this.#restored.clear();
    this.#told.clear();
    this.#standsUntilMs = this.#atFirstMs;
    this.#isStrict = true;
    this.#isWhole = true;
    this.#mayBeCleared = false;
    this.#mischief = 0;
  }
}
