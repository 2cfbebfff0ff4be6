/** The queue that histories are compared with, and what a history's answers tell of it beforehand. */
import { invalidArgument } from "@selvage/fabric";
import { canonical, isSame } from "./canonical.ts";
import { at } from "./check.ts";
import type { Operation } from "./history.ts";
import { answer, isNothing, UNKNOWN, unknownInput, type Foreseen, type Model } from "./model.ts";

/** What a client asks of a queue. `queue` names which, when there are several. */
export type FifoInput =
  | {
      readonly type: "offer";
      readonly value: unknown;
      readonly queue?: string;
      /** Not for clients: between which moments of the history its poll is, as the model foresaw. */
      readonly polled?: PolledBetween;
    }
  | { readonly type: "poll"; readonly queue?: string }
  | { readonly type: "relocate"; readonly queue?: string };

/** Between which moments of a history, in its own count, something took effect. */
export interface PolledBetween {
  readonly from: number;
  readonly to: number;
}

/** An offer: true when it was accepted, false when full. A poll: the value; undefined or null when empty. */
export type FifoOutput = unknown;

/** The offers whose values are in the queue, the next one first. */
export interface FifoState {
  readonly items: readonly Extract<FifoInput, { readonly type: "offer" }>[];
  /** The latest `from` of the polls of all that was ever offered: what is polled before it cannot be offered now. */
  readonly polledFrom: number;
}

/**
 * A first-in first-out queue, or several that `queue` tells apart. `capacity` in items: an offer is refused when so many
 * are in it, and only then; without it never. A relocation has no effect: whatever moves, it stays one queue.
 * Offer different values: they tell at once whose poll was which, and a queue is otherwise slow to judge.
 * @throws FabricError `INVALID_ARGUMENT`.
 */
export function fifo(
  options: { readonly capacity?: number } = {},
): Model<FifoState, FifoInput, FifoOutput> {
  const { capacity = Infinity } = options;
  if (!(capacity >= 1)) throw invalidArgument("capacity", "a number of items from 1 up", capacity);
  return {
    name: "fifo",
    init: () => ({ items: [], polledFrom: -Infinity }),
    foresee: foreseePolls,
    key: (input) => input.queue ?? "",
    step(state, input, output) {
      const { items } = state;
      switch (input.type) {
        case "offer": {
          const isRoom = items.length < capacity;
          if (output !== UNKNOWN && output !== isRoom) return undefined;
          if (!isRoom) return state;
          const { from, to } = input.polled ?? ANY_TIME;
          if (to < state.polledFrom) return undefined;
          const polledFrom = Math.max(from, state.polledFrom);
          return { items: [...items, input], polledFrom };
        }
        case "poll": {
          const [next] = items;
          if (next === undefined)
            return output === UNKNOWN || isNothing(output) ? state : undefined;
          // Nobody else took what an answered poll gives.
          const isLegal = output === UNKNOWN ? !isMatched(next.polled) : isSame(output, next.value);
          return isLegal ? { items: items.slice(1), polledFrom: state.polledFrom } : undefined;
        }
        case "relocate":
          return state;
        default:
          throw unknownInput("fifo", "offer, poll or relocate", input);
      }
    },
    hash: ({ items }) => canonical(items.map(({ value }) => value)),
    show: (input, output) =>
      `${input.type}(${input.type === "offer" ? canonical(input.value) : ""})${answer(output)}`,
  };
}

const ANY_TIME: PolledBetween = { from: -Infinity, to: Infinity };
const NEVER: PolledBetween = { from: Infinity, to: Infinity };

/** All offers and polls of one value. */
interface Passage {
  readonly offers: FifoOperation[];
  readonly polls: PolledBetween[];
}

type FifoOperation = Operation<FifoInput>;

/** A value that was offered once: from when to when, and when its poll is. */
interface Offered {
  readonly from: number;
  readonly to: number;
  readonly polled: PolledBetween;
}

// First in, first out: of two values, the one whose poll ends before the other's begins was offered first.
function foreseePolls(operations: readonly FifoOperation[]): Foreseen<FifoInput>[] | undefined {
  const passages = new Map<string, Passage>();
  const passageOf = (value: unknown): Passage =>
    at(passages, canonical(value), () => ({ offers: [], polls: [] }));
  const empty: Offered[] = [];
  // Nobody knows what an unanswered poll took, nor when; but not before it began.
  let unmatched = NEVER;
  for (const operation of operations) {
    const { input, outcome, output, invokedSeq: from, returnedSeq: to } = operation;
    if (input.type === "offer") {
      const isRefused = outcome === "ok" && output === false;
      if (!isRefused) passageOf(input.value).offers.push(operation);
    } else if (input.type === "poll") {
      if (outcome !== "ok" || to === undefined)
        unmatched = { from: Math.min(from, unmatched.from), to: Infinity };
      else if (!isNothing(output)) passageOf(output).polls.push({ from, to });
      // As if it had been offered and polled: nothing that was offered before it may be polled after it.
      else empty.push({ from, to: Infinity, polled: { from, to } });
    }
  }
  const offered = new Map<FifoOperation, Offered>();
  for (const { offers, polls } of passages.values()) {
    // Invented, or delivered twice.
    if (polls.length > offers.length) return undefined;
    const [offer] = offers;
    if (offer === undefined || offers.length > 1) continue;
    const { invokedSeq: from, returnedSeq: to = Infinity } = offer;
    offered.set(offer, { from, to, polled: polls[0] ?? unmatched });
  }
  if (isOutOfOrder([...offered.values(), ...empty])) return undefined;
  return operations.map((operation) => {
    const { input, outcome } = operation;
    const isAnswered = outcome === "ok";
    if (input.type !== "offer") return { input, rank: isAnswered ? 0 : 2 };
    const polled = offered.get(operation)?.polled ?? ANY_TIME;
    // What nobody polls is put behind what somebody does.
    return { input: { ...input, polled }, rank: isMatched(polled) ? 0 : isAnswered ? 1 : 2 };
  });
}

function isMatched(polled: PolledBetween = ANY_TIME): boolean {
  return Number.isFinite(polled.to);
}

// True when one is polled before it is offered, or only after another that was offered only after it.
function isOutOfOrder(offered: readonly Offered[]): boolean {
  const ended = offered.toSorted((one, two) => one.to - two.to);
  let index = 0;
  let polledFrom = -Infinity;
  for (const { from, polled } of offered.toSorted((one, two) => one.from - two.from)) {
    for (let before = ended[index]; before !== undefined && before.to < from;) {
      polledFrom = Math.max(polledFrom, before.polled.from);
      before = ended[++index];
    }
    if (polled.to < from || polled.to < polledFrom) return true;
  }
  return false;
}
