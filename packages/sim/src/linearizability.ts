/**
 * Is there one order of a history's operations that a {@link Model} allows and that respects which ended before which
 * began? The algorithm of Wing and Gong as Lowe improved it ("Testing for linearizability", 2017): depth first over the
 * operations that may come next, with a cache of the (set, state) pairs that were reached, each key by itself.
 */
import { assert, invalidArgument } from "@selvage/fabric";
import type { Operation } from "./history.ts";
import { UNKNOWN, type Foreseen, type Model } from "./model.ts";

/** What the search found. */
export type Linearizability<Input = unknown, Output = unknown> =
  | {
      readonly verdict: "linearizable";
      /** Steps of the model that it took. */
      readonly steps: number;
      /** A legal order for each key; unanswered operations that need not have happened are left out. */
      readonly order: readonly (readonly Operation<Input, Output>[])[];
    }
  | {
      readonly verdict: "not-linearizable";
      readonly steps: number;
      readonly counterexample: Counterexample<Input, Output>;
    }
  | {
      /** The budget was spent: nothing is known, neither good nor bad. */
      readonly verdict: "gave-up";
      readonly steps: number;
      /** The key whose search was not finished. */
      readonly key: string;
    };

/** Why a history is not linearizable. */
export interface Counterexample<Input = unknown, Output = unknown> {
  /** The key, of those that the model tells apart. */
  readonly key: string;
  /** A longest legal beginning; of a long history, the longest that was found in some thousand steps. */
  readonly prefix: readonly Operation<Input, Output>[];
  /** The model's state after it, as its `hash`. */
  readonly state: string;
  /** The answered operations of which one would have to come next; none can. */
  readonly blocked: readonly Operation<Input, Output>[];
}

/** How long to search. */
export interface LinearizabilityOptions {
  /** Steps of the model until the search gives up, over all keys. Default a million: some seconds at most. */
  readonly budget?: number;
}

const DEFAULT_BUDGET = 1_000_000;
/** Steps to look for an explanation: some milliseconds. */
const EXPLAIN_STEPS = 10_000;

/**
 * Judges the operations of one history, in any order. Failed operations had no effect and are left out; unanswered ones
 * may take effect at any time after they were asked for, or never. Cost: linear in practice; exponential in the number
 * of operations under way at once at worst, which the budget bounds.
 * @throws FabricError `INVALID_ARGUMENT` for a budget or an operation that the model does not know.
 */
export function checkLinearizable<State extends object, Input, Output>(
  model: Model<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
  options: LinearizabilityOptions = {},
): Linearizability<Input, Output> {
  const { budget = DEFAULT_BUDGET } = options;
  if (!(budget >= 1)) throw invalidArgument("budget", "a number of steps from 1 up", budget);
  let steps = 0;
  let undecided: string | undefined;
  const order: (readonly Operation<Input, Output>[])[] = [];
  for (const [key, part] of partitioned(model, operations)) {
    const foreseen = model.foresee === undefined ? unforeseen(part) : model.foresee(part);
    const search = new Search(model, part, foreseen ?? unforeseen(part), budget - steps);
    const found = foreseen === undefined ? "not-linearizable" : search.run();
    steps += search.steps;
    if (found === "linearizable") order.push(search.order());
    else if (found === "gave-up") undecided ??= key;
    else {
      const counterexample = { key, ...explained(model, part, search) };
      return { verdict: "not-linearizable", steps, counterexample };
    }
  }
  if (undecided !== undefined) return { verdict: "gave-up", steps, key: undecided };
  return { verdict: "linearizable", steps, order };
}

// What was foreseen refuses early: a person follows better where it goes wrong without. The verdict is known, so this need
// not come to its end.
function explained<State extends object, Input, Output>(
  model: Model<State, Input, Output>,
  part: readonly Operation<Input, Output>[],
  foreseen: Search<State, Input, Output>,
): Omit<Counterexample<Input, Output>, "key"> {
  if (model.foresee === undefined) return foreseen.counterexample();
  const search = new Search(model, part, unforeseen(part), EXPLAIN_STEPS);
  assert(search.run() !== "linearizable", "foresight refuses only what is wrong", model.name);
  return search.counterexample();
}

function unforeseen<Input, Output>(
  operations: readonly Operation<Input, Output>[],
): Foreseen<Input>[] {
  return operations.map(({ input, outcome }) => ({ input, rank: outcome === "ok" ? 0 : 2 }));
}

/** A counterexample in lines of text, for a person. */
export function describeCounterexample<State extends object, Input, Output>(
  model: Model<State, Input, Output>,
  { key, prefix, state, blocked }: Counterexample<Input, Output>,
): string {
  const line = (operation: Operation<Input, Output>): string =>
    `  ${operation.client}: ${model.show(operation.input, outputOf(operation))}` +
    ` [${operation.invokedAtMs} ms to ${operation.returnedAtMs ?? "?"} ms]`;
  // Only the end tells: what was long ago did fit.
  const shown = prefix.slice(-12);
  return [
    `no order of these operations is legal for ${model.name}${key && ` ${JSON.stringify(key)}`}`,
    `a longest legal beginning (${prefix.length} operations):`,
    ...(shown.length < prefix.length ? ["  ..."] : []),
    ...shown.map(line),
    `then the state is ${state}, and none of these can follow:`,
    ...blocked.map(line),
  ].join("\n");
}

function outputOf<Input, Output>(operation: Operation<Input, Output>): Output | typeof UNKNOWN {
  return operation.outcome === "ok" ? (operation.output as Output) : UNKNOWN;
}

function partitioned<State extends object, Input, Output>(
  model: Model<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
): Map<string, Operation<Input, Output>[]> {
  const parts = new Map<string, Operation<Input, Output>[]>();
  for (const operation of operations) {
    if (operation.outcome === "fail") continue;
    const key = model.key?.(operation.input) ?? "";
    const part = parts.get(key);
    if (part === undefined) parts.set(key, [operation]);
    else part.push(operation);
  }
  return parts;
}

/** A set of operations that had taken effect, and the states that were reached with it. */
interface Reached<State> {
  readonly words: Uint32Array;
  readonly first: State;
  /** Hashes of all states; made with the second one only, as most sets have but one. */
  hashes: Set<string> | undefined;
  /** Another set with the same hash. */
  readonly next: Reached<State> | undefined;
}

/**
 * The search over the operations of one key.
 *
 * The list of what is left to place: entry 2i + 1 is operation i's asking, 2i + 2 its answer, in the order of the
 * history; entry 0 is before the first, and follows the last. Placing an operation takes both of its entries out.
 */
class Search<State extends object, Input, Output> {
  /** Steps of the model so far. */
  steps = 0;
  readonly #model: Model<State, Input, Output>;
  readonly #operations: readonly Operation<Input, Output>[];
  readonly #foreseen: readonly Foreseen<Input>[];
  readonly #outputs: readonly (Output | typeof UNKNOWN)[];
  readonly #budget: number;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** A bit for each operation that is placed, and a hash of those bits that one placing changes by one XOR. */
  readonly #placed: Uint32Array;
  #hash = 0;
  readonly #reached = new Map<number, Reached<State>>();
  /** The placed operations in order, and the state before each. */
  readonly #path: number[] = [];
  readonly #statesBefore: State[] = [];
  #state: State;
  #answeredLeft = 0;
  #bestLeft = Infinity;
  #best:
    | { readonly path: readonly number[]; readonly state: State; readonly blocked: number[] }
    | undefined;

  constructor(
    model: Model<State, Input, Output>,
    operations: readonly Operation<Input, Output>[],
    foreseen: readonly Foreseen<Input>[],
    budget: number,
  ) {
    this.#model = model;
    this.#operations = operations;
    this.#foreseen = foreseen;
    this.#outputs = operations.map(outputOf);
    this.#budget = budget;
    this.#next = new Int32Array(2 * operations.length + 1);
    this.#previous = new Int32Array(2 * operations.length + 1);
    this.#placed = new Uint32Array(Math.ceil(operations.length / 32));
    this.#state = model.init();
    this.#link();
  }

  run(): "linearizable" | "not-linearizable" | "gave-up" {
    let index = this.#candidate(0, 0);
    while (this.#answeredLeft > 0) {
      if (index === undefined) {
        // Whatever is placed last was wrong.
        this.#noteBest();
        index = this.#takeBack();
        if (index === undefined) return "not-linearizable";
      } else {
        if (this.steps >= this.#budget) return "gave-up";
        const state = this.#stepped(index);
        if (state !== undefined && this.#isNew(index, state)) {
          this.#place(index, state);
          index = this.#candidate(0, 0);
          continue;
        }
      }
      index = this.#candidate(2 * index + 1, this.#rank(index));
    }
    return "linearizable";
  }

  // The next one after `entry` that may come next: before the first answer in the list. By rank: those that need not happen
  // are tried only when none of the others leads anywhere.
  #candidate(entry: number, rank: number): number | undefined {
    let next = this.#next[entry] as number;
    for (; (next & 1) === 1; next = this.#next[next] as number)
      if (this.#rank(next >> 1) === rank) return next >> 1;
    return rank < 2 ? this.#candidate(0, rank + 1) : undefined;
  }

  #rank(index: number): number {
    return (this.#foreseen[index] as Foreseen<Input>).rank;
  }

  order(): Operation<Input, Output>[] {
    return this.#path.map((index) => this.#at(index));
  }

  counterexample(): Omit<Counterexample<Input, Output>, "key"> {
    // A search that gave up may still be on its first way down.
    this.#noteBest();
    assert(this.#best !== undefined, "something is left to place");
    const { path, state, blocked } = this.#best;
    return {
      prefix: path.map((index) => this.#at(index)),
      state: this.#model.hash(state),
      blocked: blocked.map((index) => this.#at(index)),
    };
  }

  #at(index: number): Operation<Input, Output> {
    return this.#operations[index] as Operation<Input, Output>;
  }

  #link(): void {
    const entries: { readonly entry: number; readonly seq: number }[] = [];
    for (const [index, { outcome, invokedSeq, returnedSeq }] of this.#operations.entries()) {
      entries.push({ entry: 2 * index + 1, seq: invokedSeq });
      if (outcome !== "ok") continue;
      assert(returnedSeq !== undefined, "an answered operation has a time of its answer", index);
      entries.push({ entry: 2 * index + 2, seq: returnedSeq });
      this.#answeredLeft++;
    }
    entries.sort((one, two) => one.seq - two.seq);
    let last = 0;
    for (const { entry } of entries) {
      this.#next[last] = entry;
      this.#previous[entry] = last;
      last = entry;
    }
    this.#next[last] = 0;
    this.#previous[0] = last;
  }

  // The state after placing it next; undefined when that is illegal or useless.
  #stepped(index: number): State | undefined {
    this.steps++;
    const output = this.#outputs[index] as Output | typeof UNKNOWN;
    const { input } = this.#foreseen[index] as Foreseen<Input>;
    const state = this.#model.step(this.#state, input, output);
    // Without answer and without effect, it need not have happened.
    return output === UNKNOWN && state === this.#state ? undefined : state;
  }

  // Notes the pair; false when it was reached before, from where nothing was found.
  #isNew(index: number, state: State): boolean {
    const word = index >> 5;
    const hash = this.#hash ^ mixed(index);
    const first = this.#reached.get(hash);
    const words = this.#placed.slice();
    words[word] = (words[word] as number) | (1 << (index & 31));
    for (let set = first; set !== undefined; set = set.next)
      if (areEqual(set.words, words)) return this.#isNewState(set, state);
    this.#reached.set(hash, { words, first: state, hashes: undefined, next: first });
    return true;
  }

  #isNewState(set: Reached<State>, state: State): boolean {
    set.hashes ??= new Set([this.#model.hash(set.first)]);
    const known = set.hashes.size;
    return set.hashes.add(this.#model.hash(state)).size > known;
  }

  #place(index: number, state: State): void {
    this.#path.push(index);
    this.#statesBefore.push(this.#state);
    this.#state = state;
    this.#flip(index);
    this.#unlink(2 * index + 1);
    if (this.#outputs[index] === UNKNOWN) return;
    this.#answeredLeft--;
    this.#unlink(2 * index + 2);
  }

  #takeBack(): number | undefined {
    const index = this.#path.pop();
    if (index === undefined) return undefined;
    this.#state = this.#statesBefore.pop() as State;
    this.#flip(index);
    if (this.#outputs[index] !== UNKNOWN) {
      this.#answeredLeft++;
      this.#relink(2 * index + 2);
    }
    this.#relink(2 * index + 1);
    return index;
  }

  #flip(index: number): void {
    this.#placed[index >> 5] = (this.#placed[index >> 5] as number) ^ (1 << (index & 31));
    this.#hash ^= mixed(index);
  }

  #unlink(entry: number): void {
    const next = this.#next[entry] as number;
    const previous = this.#previous[entry] as number;
    this.#next[previous] = next;
    this.#previous[next] = previous;
  }

  // An entry keeps its neighbours: entries come back in the reverse order of their going.
  #relink(entry: number): void {
    this.#next[this.#previous[entry] as number] = entry;
    this.#previous[this.#next[entry] as number] = entry;
  }

  // Where the fewest answered operations are left, the first time: those that could come next are then all illegal.
  #noteBest(): void {
    if (this.#answeredLeft >= this.#bestLeft) return;
    this.#bestLeft = this.#answeredLeft;
    const blocked: number[] = [];
    for (
      let entry = this.#next[0] as number;
      (entry & 1) === 1;
      entry = this.#next[entry] as number
    )
      if (this.#outputs[entry >> 1] !== UNKNOWN) blocked.push(entry >> 1);
    this.#best = { path: [...this.#path], state: this.#state, blocked };
  }
}

function areEqual(one: Uint32Array, two: Uint32Array): boolean {
  for (let index = 0; index < one.length; index++) if (one[index] !== two[index]) return false;
  return true;
}

// MurmurHash3's mixer: a word for each operation, such that the XOR of some seldom is that of others.
function mixed(index: number): number {
  let word = Math.imul(index + 1, 0x9e3779b1);
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return word ^ (word >>> 16);
}
