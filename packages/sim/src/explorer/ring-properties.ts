/** Invariants R1 to R4 and R6 of the rings, as explorations of the code that ships. */
import type { FabricQueue, QueueTicket } from "@selvage/collections";
import { isFabricError } from "@selvage/fabric";
import type { Exploration } from "./explore.ts";
import type { Host, Outcome, SteppedThread, ThreadOutcome } from "./execution.ts";
import {
  buryThreads,
  claimLeft,
  clearUnsettled,
  drain,
  idOf,
  joinRing,
  lastPosition,
  openRing,
  successorOf,
  valueOf,
  type RingKind,
  type RingPlan,
} from "./ring-rig.ts";
import type { PlainReads } from "./weak-words.ts";

/** An exploration that lacks only its mode. */
export type Explorable = Omit<Exploration<unknown>, "mode">;

type RingThread = SteppedThread<QueueTicket>;

function explorable(
  plan: RingPlan,
  threads: readonly RingThread[],
  check: (outcome: Outcome<QueueTicket>) => string | undefined,
  more: { readonly mayDie?: readonly number[]; readonly plainReads?: PlainReads } = {},
): Explorable {
  const setUp: Exploration<QueueTicket>["setUp"] = (memory) => openRing(memory, plan);
  const { plainReads = "weak", mayDie = [] } = more;
  const whole = { setUp, threads, check, mayDie, plainReads, betweenRuns: clearUnsettled };
  return whole as unknown as Explorable;
}

/**
 * Pushes `count` values from `first` on; notes each before it is tried, and each that is accepted. Where the ring is full it
 * hears of the exit of a thread in `mourns`.
 */
function pusher(
  first: number,
  count: number,
  length: number,
  looks: number,
  mourns: readonly number[] = [],
): RingThread {
  return (ticket, host) => {
    const queue = joinRing(host, ticket);
    return () => {
      const value = new Uint8Array(length);
      let left = looks;
      for (let id = first; id < first + count; id++) {
        value.fill(id);
        host.note({ tried: id });
        while (!queue.push(value)) {
          if (left-- === 0) return;
          for (const other of mourns)
            if (host.hasDied(other)) buryThreads(host, ticket.lease, other);
        }
        host.note({ accepted: id });
      }
      queue.flush();
      host.note({ published: true });
    };
  };
}

/** Pops up to `looks` times; notes what comes. */
function popper(looks: number, into?: number): RingThread {
  return (ticket, host) => {
    const queue = joinRing(host, ticket);
    return () => {
      const target = new Uint8Array(into ?? 0);
      for (let look = 0; look < looks; look++) {
        host.note({ look });
        if (into === undefined) {
          const value = queue.pop();
          if (value !== undefined) host.note({ popped: idOf(value) });
        } else if (queue.popInto(target) >= 0) host.note({ popped: idOf(target) });
      }
      queue.flush();
    };
  };
}

interface RingNote {
  readonly tried?: number;
  readonly accepted?: number;
  readonly popped?: number;
  readonly published?: boolean;
}

function ids({ notes }: ThreadOutcome, key: "tried" | "accepted" | "popped"): number[] {
  return (notes as RingNote[]).flatMap((note) => note[key] ?? []);
}

/** What must hold of one producer (thread 0) and one consumer (1): R1, R2, and that the ring is whole afterwards (R3). */
function checkOrder(plan: RingPlan): (outcome: Outcome<QueueTicket>) => string | undefined {
  return ({ threads, host, shared }) => {
    const [producer, consumer] = threads as [ThreadOutcome, ThreadOutcome];
    const popped = ids(consumer, "popped");
    const queue = successorOf(host, shared);
    const rest = drain(queue);
    const [tried, accepted] = [ids(producer, "tried"), ids(producer, "accepted")];
    if (!isPrefix(popped, tried)) return `R1: popped ${popped.join()} of ${tried.join()}`;
    const wrong = consumer.hasDied
      ? wrongAfterConsumer(popped, rest, accepted)
      : wrongAfterProducer(producer, popped.concat(rest), tried, accepted, plan);
    return wrong ?? wrongRing(queue, plan);
  };
}

// From the published head on: again what was popped and not published, and nothing left out.
function wrongAfterConsumer(
  popped: readonly number[],
  rest: readonly number[],
  accepted: readonly number[],
): string | undefined {
  const suffix = accepted.slice(accepted.length - rest.length);
  if (isPrefix(rest, suffix) && popped.length + rest.length >= accepted.length - 1)
    return undefined;
  return `R1: of ${accepted.join()} came ${popped.join()}, then ${rest.join()}`;
}

function wrongAfterProducer(
  { hasDied, notes }: ThreadOutcome,
  got: readonly number[],
  tried: readonly number[],
  accepted: readonly number[],
  { capacity }: RingPlan,
): string | undefined {
  if (!isPrefix(got, tried)) return `R2: got ${got.join()} of ${tried.join()}`;
  // Rings of fewer than eight values publish each at once.
  const isSure = !hasDied || capacity < 8 || (notes as RingNote[]).some((note) => note.published);
  if (isSure && got.length < accepted.length)
    return `R1: lost ${accepted.slice(got.length).join()}`;
  if (!hasDied && got.length > accepted.length) return `R1: got ${got.join()}, refused some`;
  return undefined;
}

/** R3: the whole ring can be filled and emptied again, and no more than filled. */
function wrongRing(queue: FabricQueue, { kind, capacity, stride }: RingPlan): string | undefined {
  for (let id = 0; id < capacity; id++) {
    // What a dead thread left behind in a ring for many is taken back when it has been seen twice.
    let looks = 0;
    while (!queue.push(valueOf(200 + id, stride)))
      if (looks++ === 3) return `R3: full with ${id} of ${capacity}`;
  }
  // A ring of records has some room besides.
  if (kind !== "records" && queue.push(valueOf(250, stride))) return "R3: more than full";
  const got = drain(queue);
  const isWhole = got.length === capacity && got.every((id, index) => id === 200 + index);
  return isWhole ? undefined : `R3: came back as ${got.join()}`;
}

function isPrefix(some: readonly number[], all: readonly number[]): boolean {
  return some.length <= all.length && some.every((id, index) => id === all[index]);
}

/** R1 to R3: one producer and one consumer, `items` values of `length` bytes. */
export function ringOrder(plan: RingPlan, items: number, length: number): Explorable {
  const into = length % 8 === 0 ? length : undefined;
  const threads = [pusher(1, items, length, 2), popper(items + 1, into)];
  return explorable(plan, threads, checkOrder(plan));
}

/** R1, R2: the same, and one of them dies. */
export function ringDeath(plan: RingPlan, items: number, mayDie: 0 | 1): Explorable {
  const threads = [pusher(1, items, 1, 1), popper(items + 1)];
  return explorable(plan, threads, checkOrder(plan), { mayDie: [mayDie] });
}

/** R1 for many: `producers` threads push `items` values each, `consumers` pop. One may die. */
export function manyOrder(
  plan: RingPlan,
  [producers, consumers]: readonly [producers: number, consumers: number],
  items: number,
  mayDie: readonly number[] = [],
): Explorable {
  const mourned = mayDie.filter((thread) => thread >= producers);
  const threads = [
    ...Array.from({ length: producers }, (_, index) =>
      pusher(10 * (index + 1), items, 1, 1, mourned),
    ),
    ...Array.from({ length: consumers }, () => popper(items + 1)),
  ];
  const check = (outcome: Outcome<QueueTicket>): string | undefined => {
    const queue = successorOf(outcome.host, outcome.shared);
    const popped = outcome.threads.flatMap((thread) => ids(thread, "popped"));
    const got = popped.concat(drain(queue));
    const tried = outcome.threads.flatMap((thread) => ids(thread, "tried"));
    const accepted = outcome.threads.flatMap((thread) => ids(thread, "accepted"));
    if (new Set(got).size < got.length) return `R1: twice in ${got.join()}`;
    if (got.some((id) => !tried.includes(id))) return `R2: invented in ${got.join()}`;
    const lost = accepted.filter((id) => !got.includes(id)).length;
    const consumerDied = outcome.threads.slice(producers).some(({ hasDied }) => hasDied);
    if (lost > (consumerDied ? 1 : 0)) return `R1: of ${accepted.join()} only ${got.join()}`;
    if (consumers === 1 && !isOrdered(got)) return `R1: out of order in ${got.join()}`;
    // One that died between taking a value and saying so had it.
    const wrong = wrongRing(queue, plan);
    return wrong ?? (queue.stats().lost > lost ? `R1: ${lost} lost, more were counted` : undefined);
  };
  return explorable(plan, threads, check, { mayDie });
}

/** Each producer's values rise. */
function isOrdered(got: readonly number[]): boolean {
  return got.every(
    (id, index) =>
      !got
        .slice(0, index)
        .some((before) => Math.floor(before / 10) === Math.floor(id / 10) && before > id),
  );
}

const claimer: RingThread = (ticket, host) => {
  const queue = joinRing(host, ticket);
  return () => {
    const claimed = queue.claim();
    if (claimed === undefined) return "full";
    claimed.fill(1);
    host.note({ tried: 1 });
    try {
      queue.commit(1);
    } catch (thrown) {
      if (isFabricError(thrown)) return thrown.code;
      throw thrown;
    }
    queue.flush();
    return "committed";
  };
};

/** R4: a claim is committed or given up, never both; a producer that dies with one open is passed over, and counted. */
export function claimRace(plan: RingPlan, mayDie: boolean): Explorable {
  const check = ({ threads, host, shared }: Outcome<QueueTicket>): string | undefined => {
    const [one, other] = threads as [ThreadOutcome, ThreadOutcome];
    const torn = claimLeft(host, shared);
    const queue = successorOf(host, shared);
    if (plan.kind !== "many") {
      // Whoever produces next passes the claim over, and counts it, before it opens its own.
      const before = queue.stats().skipped;
      if (queue.claim() !== undefined) queue.abort();
      if (queue.stats().skipped !== before + (torn ? 1 : 0))
        return "R4: a torn claim was forgotten";
    }
    const got = ids(other, "popped").concat(drain(queue));
    const { skipped } = queue.stats();
    if (got.join() !== "1" && got.length > 0) return `R2: got ${got.join()}`;
    if (got.length + skipped > 1) return "R4: both committed and given up";
    if (!one.hasDied) {
      const expected = one.result === "committed" ? "1 0" : "0 1";
      const found = `${got.length} ${skipped}`;
      if (found !== expected) return `R4: ${String(one.result)}, delivered and skipped: ${found}`;
      if (!["committed", "STALE_EPOCH"].includes(String(one.result)))
        return `R4: the late commit ended in ${String(one.result)}`;
    }
    return wrongRing(queue, plan);
  };
  return explorable(plan, [claimer, popper(3)], check, mayDie ? { mayDie: [0] } : {});
}

/** R6: whoever waits for an item is woken by it; a sleep that only time ends is a violation. */
export function wakeForItem(plan: RingPlan, items: number): Explorable {
  const waiter: RingThread = (ticket, host) => {
    const queue = joinRing(host, ticket);
    return () => {
      for (let item = 0; item < items; item++) {
        const value = queue.popWait(1_000);
        if (value !== undefined) host.note({ popped: idOf(value) });
      }
    };
  };
  return explorable(plan, [pusher(1, items, 1, 2), waiter], checkWoken(1, items));
}

/** R6: the same for room. */
export function wakeForRoom(plan: RingPlan, items: number): Explorable {
  const waiter: RingThread = (ticket, host) => {
    const queue = joinRing(host, ticket);
    return () => {
      for (let id = 1; id <= items; id++) queue.pushWait(valueOf(id, 1), 1_000);
      queue.flush();
    };
  };
  // Pops what is there when the waiter must be waiting for it: it pops as often as there are values too many.
  const taker: RingThread = (ticket, host: Host) => {
    const queue = joinRing(host, ticket);
    return () => {
      for (let item = 0; item < items; item++) {
        const value = queue.popWait(1_000);
        if (value !== undefined) host.note({ popped: idOf(value) });
      }
    };
  };
  return explorable(plan, [waiter, taker], checkWoken(1, items));
}

/** R6: a question that is held back for its batch is published before its producer waits for the answer, in another ring. */
export function wakeForAnswer(plan: RingPlan, questions: number): Explorable {
  type Tickets = readonly [there: QueueTicket, back: QueueTicket];
  const asker: SteppedThread<Tickets> = ([there, back], host) => {
    const [ask, answers] = [joinRing(host, there), joinRing(host, back)];
    return () => {
      for (let id = 1; id <= questions; id++) {
        ask.push(valueOf(id, 1));
        const value = answers.popWait(1_000);
        if (value !== undefined) host.note({ popped: idOf(value) });
      }
    };
  };
  const answerer: SteppedThread<Tickets> = ([there, back], host) => {
    const [asked, answer] = [joinRing(host, there), joinRing(host, back)];
    return () => {
      for (let left = questions; left > 0; left--) {
        const value = asked.popWait(1_000);
        if (value !== undefined) answer.push(value);
        answer.flush();
      }
    };
  };
  const setUp: Exploration<Tickets>["setUp"] = (memory) => [
    openRing(memory, plan),
    openRing(memory, plan),
  ];
  const whole = {
    setUp,
    threads: [asker, answerer],
    check: checkWoken(0, questions),
    plainReads: "weak",
    betweenRuns: clearUnsettled,
  };
  return whole as unknown as Explorable;
}

function checkWoken(consumer: number, items: number) {
  return ({ threads }: Outcome<unknown>): string | undefined => {
    const got = ids(threads[consumer] as ThreadOutcome, "popped");
    const slept = threads.findIndex(({ timeouts }) => timeouts > 0);
    if (slept >= 0) return `R6: thread ${slept} slept until its time was up`;
    const want = Array.from({ length: items }, (_, index) => index + 1);
    return isPrefix(want, got) ? undefined : `R1: got ${got.join()}`;
  };
}

/** Where positions start, so that they pass their limit. */
export function nearTheEnd(kind: RingKind, capacity: number): number {
  return lastPosition(capacity, kind) - 1;
}
