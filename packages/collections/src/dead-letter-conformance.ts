/** What every {@link DeadLetterStore} must do. Ours pass it; so must yours. */
import { toWire, FabricError } from "@selvage/fabric";
import type { DeadLetter, DeadLetterStore } from "./dead-letter-store.ts";
import { expectCode, expectSame, type StoreConformanceCase } from "./store-conformance.ts";

/** Makes what the cases run on. */
export interface DeadLetterSubject {
  /** A new store that holds nothing. */
  open(): Promise<DeadLetterStore>;
  /** The same letters through another handle, as a new process would find them. Left out where nothing outlives the store. */
  reopen?(store: DeadLetterStore): Promise<DeadLetterStore>;
}

const error = toWire(new FabricError("TIMED_OUT", "too slow", { ms: 5 }));

function draft(subject: string, bytes: readonly number[], sentAtMs = 0) {
  return { subject, bytes: Uint8Array.from(bytes), error, sentAtMs };
}

async function idsOf(store: DeadLetterStore, subject?: string): Promise<number[]> {
  const query = { after: 0, limit: 100, ...(subject === undefined ? {} : { subject }) };
  return (await store.list(query)).map(({ id }) => id);
}

type Scenario = (store: DeadLetterStore, subject: DeadLetterSubject) => Promise<void>;

const letterScenarios: Readonly<Record<string, Scenario>> = {
  "an empty store lists nothing, and its newest id is 0": async (store) => {
    expectSame("list", await store.list({ after: 0, limit: 10 }), []);
    expectSame("newest", await store.newestId(), 0);
    expectSame("purged", await store.purge(Number.MAX_SAFE_INTEGER), 0);
  },
  "a letter comes back as it was sent, byte for byte": async (store) => {
    const bytes = Array.from({ length: 256 }, (_, byte) => byte);
    const id = await store.add(draft("Bücher \u0000 'x'", bytes, 77));
    const expected: DeadLetter = { ...draft("Bücher \u0000 'x'", bytes, 77), id, replays: 0 };
    const [letter] = await store.list({ after: 0, limit: 1 });
    expectSame("subject", letter?.subject, expected.subject);
    expectSame("bytes", letter?.bytes, expected.bytes);
    expectSame("error", letter?.error, expected.error);
    expectSame("the rest", [letter?.sentAtMs, letter?.replays], [77, 0]);
    expectSame("no replay error", letter?.replayError, undefined);
  },
  "a letter of no bytes is a letter": async (store) => {
    await store.add(draft("a", []));
    const [letter] = await store.list({ after: 0, limit: 1 });
    expectSame("bytes", letter?.bytes, new Uint8Array(0));
  },
  "what a reader does to its bytes changes no letter": async (store) => {
    const sent = draft("a", [1, 2]);
    await store.add(sent);
    sent.bytes.fill(9);
    const [letter] = await store.list({ after: 0, limit: 1 });
    letter?.bytes.fill(9);
    const [again] = await store.list({ after: 0, limit: 1 });
    expectSame("bytes", again?.bytes, Uint8Array.of(1, 2));
  },
  "ids rise, and are not given out again": async (store) => {
    const first = await store.add(draft("a", [1]));
    expectSame("rises from 1", first >= 1, true);
    expectSame("purged", await store.purge(0), 1);
    const second = await store.add(draft("a", [2]));
    expectSame("rises", second > first, true);
    expectSame("newest", await store.newestId(), second);
  },
  "lists by subject, from an id on, up to a limit, in order": async (store) => {
    const ids: number[] = [];
    for (const subject of ["a", "b", "a", "A", "a"]) ids.push(await store.add(draft(subject, [])));
    const [first, second, third, fourth, fifth] = ids;
    expectSame("all", await idsOf(store), ids);
    expectSame("of a", await idsOf(store, "a"), [first, third, fifth]);
    expectSame("of c", await idsOf(store, "c"), []);
    const page = await store.list({ after: second ?? 0, limit: 2 });
    expectSame(
      "a page",
      page.map(({ id }) => id),
      [third, fourth],
    );
    expectSame("limit 0", await store.list({ after: 0, limit: 0 }), []);
  },
  "purges what is as old as it is told, and nothing else": async (store) => {
    for (const sentAtMs of [1, 2, 3]) await store.add(draft("a", [sentAtMs], sentAtMs));
    expectSame("purged", await store.purge(2), 2);
    const left = await store.list({ after: 0, limit: 10 });
    expectSame(
      "left",
      left.map(({ sentAtMs }) => sentAtMs),
      [3],
    );
  },
};

const turnScenarios: Readonly<Record<string, Scenario>> = {
  "one has the turn at a time": async (store) => {
    const turn = await store.takeTurn();
    await expectCode("a second turn", "CONFLICT", store.takeTurn());
    await turn.end();
    const next = await store.takeTurn();
    // An end that comes again is not the next one's end.
    await turn.end();
    await expectCode("a third turn", "CONFLICT", store.takeTurn());
    await next.end();
  },
  "begin counts, fail notes why and keeps, settle removes once": async (store) => {
    const id = await store.add(draft("a", [1]));
    const turn = await store.takeTurn();
    expectSame("begun", [await turn.begin(id), await turn.begin(id)], [1, 2]);
    await turn.fail(id, error);
    const [letter] = await store.list({ after: 0, limit: 1 });
    expectSame("noted", [letter?.replays, letter?.replayError], [2, error]);
    expectSame("settled", [await turn.settle(id), await turn.settle(id)], [true, false]);
    expectSame("begun when gone", await turn.begin(id), undefined);
    await turn.fail(id, error);
    expectSame("left", await idsOf(store), []);
    await turn.end();
  },
  "another handle finds the letters, their counts, and the turn that is taken": async (
    store,
    subject,
  ) => {
    if (subject.reopen === undefined) return;
    const id = await store.add(draft("a", [1, 2, 3]));
    const turn = await store.takeTurn();
    await turn.begin(id);
    const other = await subject.reopen(store);
    const [letter] = await other.list({ after: 0, limit: 1 });
    expectSame("letter", [letter?.id, letter?.bytes, letter?.replays], [id, [1, 2, 3], 1]);
    await expectCode("its turn", "CONFLICT", other.takeTurn());
    await turn.end();
    const next = await other.takeTurn();
    expectSame("settled", await next.settle(id), true);
    await next.end();
    expectSame("left", await idsOf(store), []);
    expectSame("a new id", (await store.add(draft("a", []))) > id, true);
  },
};

/** The cases for the stores that `subject` opens. */
export function deadLetterConformance(subject: DeadLetterSubject): readonly StoreConformanceCase[] {
  const scenarios = { ...letterScenarios, ...turnScenarios };
  return Object.entries(scenarios).map(([name, check]) => ({
    name,
    run: async () => check(await subject.open(), subject),
  }));
}
