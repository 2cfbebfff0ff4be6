/** What every {@link CheckpointStore} must do. Ours pass it; so must yours. */
import { expectSame, type StoreConformanceCase } from "@selvage/collections";
import type { CheckpointStore } from "./checkpoint-store.ts";

/** Makes what the cases run on. */
export interface CheckpointSubject {
  /** A new store that holds nothing, with room for 64 KiB. */
  open(): Promise<CheckpointStore>;
  /** The same records through another handle, as a new process would find them. Left out where nothing outlives the store. */
  reopen?(store: CheckpointStore): Promise<CheckpointStore>;
}

const one = Uint8Array.of(1);
const two = Uint8Array.of(2);
const three = Uint8Array.of(3);

type Scenario = (store: CheckpointStore, subject: CheckpointSubject) => Promise<void>;

/** Writes, and fails unless it was done. */
async function put(store: CheckpointStore, bytes: Uint8Array, expected: number): Promise<number> {
  const revision = await store.write("key", bytes, expected);
  if (revision === undefined || revision <= expected)
    throw new Error(`write over ${expected}: expected a larger revision, got ${revision}`);
  return revision;
}

const recordScenarios: Readonly<Record<string, Scenario>> = {
  "a key that was never written holds nothing": async (store) => {
    expectSame("read", await store.read("key"), undefined);
    expectSame("removed", await store.remove("key", 0), false);
    expectSame("removed by a revision", await store.remove("key", 1), false);
  },
  "a record comes back as it was written, byte for byte": async (store) => {
    const bytes = Uint8Array.from({ length: 4_096 }, (_, at) => at % 251);
    const revision = await put(store, bytes, 0);
    const found = await store.read("key");
    expectSame("revision", found?.revision, revision);
    expectSame("bytes", found?.bytes, bytes);
    expectSame("nothing before it", found?.previous, undefined);
  },
  "a record of no bytes is a record": async (store) => {
    const revision = await put(store, new Uint8Array(0), 0);
    const found = await store.read("key");
    expectSame("found", [found?.revision, found?.bytes.length], [revision, 0]);
  },
  "keeps the record before, and only that one": async (store) => {
    const first = await put(store, one, 0);
    const second = await put(store, two, first);
    const found = await store.read("key");
    expectSame("previous", found?.previous, { revision: first, bytes: one });
    await put(store, three, second);
    const last = await store.read("key");
    expectSame("newest", last?.bytes, three);
    expectSame("previous", last?.previous, { revision: second, bytes: two });
  },
  "C1: revisions rise, also over a removal": async (store) => {
    const first = await put(store, one, 0);
    const second = await put(store, two, first);
    expectSame("removed", await store.remove("key", second), true);
    expectSame("read", await store.read("key"), undefined);
    const third = await put(store, three, 0);
    expectSame("rises", third > second, true);
    expectSame("nothing before it", (await store.read("key"))?.previous, undefined);
  },
  "C3: a write or a removal that expects another revision does nothing": async (store) => {
    expectSame("nothing there", await store.write("key", one, 7), undefined);
    const first = await put(store, one, 0);
    const second = await put(store, two, first);
    for (const expected of [0, first, second + 1]) {
      expectSame(`write over ${expected}`, await store.write("key", three, expected), undefined);
      expectSame(`remove ${expected}`, await store.remove("key", expected), false);
    }
    const found = await store.read("key");
    expectSame("found", [found?.revision, found?.bytes], [second, two]);
  },
  "C3: of many writers at once over one revision, one is first": async (store) => {
    const first = await put(store, one, 0);
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, at) => store.write("key", Uint8Array.of(10 + at), first)),
    );
    const won = answers.flatMap((revision, at) =>
      revision === undefined ? [] : [{ revision, at }],
    );
    expectSame("winners", won.length, 1);
    const found = await store.read("key");
    expectSame(
      "found",
      [found?.revision, found?.bytes],
      [won[0]?.revision, [10 + (won[0]?.at ?? 0)]],
    );
  },
};

const keyScenarios: Readonly<Record<string, Scenario>> = {
  "keys are apart, whatever text they are": async (store) => {
    const keys = ["a", "A", "a ", "ключ", "../x", "a\u0000b", "a'b", "%", "__proto__"];
    const revisions: (number | undefined)[] = [];
    for (const [at, key] of keys.entries())
      revisions.push(await store.write(key, Uint8Array.of(at), 0));
    for (const [at, key] of keys.entries()) {
      const found = await store.read(key);
      expectSame(`read ${key}`, [found?.revision, found?.bytes], [revisions[at], [at]]);
    }
    expectSame("removed", await store.remove("a", revisions[0] ?? 0), true);
    expectSame("the others stay", (await store.read("A"))?.bytes, Uint8Array.of(1));
  },
  "what a caller does to its bytes changes no record": async (store) => {
    const given = Uint8Array.of(1, 2);
    const first = await put(store, given, 0);
    given.fill(9);
    const found = await store.read("key");
    found?.bytes.fill(9);
    expectSame("bytes", (await store.read("key"))?.bytes, Uint8Array.of(1, 2));
    await put(store, two, first);
    (await store.read("key"))?.previous?.bytes.fill(9);
    expectSame("previous", (await store.read("key"))?.previous?.bytes, Uint8Array.of(1, 2));
  },
  "C2: another handle finds the records, and its writes count against this one's": async (
    store,
    subject,
  ) => {
    if (subject.reopen === undefined) return;
    const first = await put(store, one, 0);
    const second = await put(store, two, first);
    const other = await subject.reopen(store);
    const found = await other.read("key");
    expectSame("newest", [found?.revision, found?.bytes], [second, two]);
    expectSame("previous", found?.previous, { revision: first, bytes: one });
    const third = await put(other, three, second);
    expectSame("a stale write", await store.write("key", one, second), undefined);
    expectSame("a stale removal", await store.remove("key", second), false);
    expectSame("removed", await other.remove("key", third), true);
    expectSame("gone here, too", await store.read("key"), undefined);
    expectSame("still rising", (await put(store, one, 0)) > third, true);
  },
};

/** The cases for the stores that `subject` opens. */
export function checkpointConformance(subject: CheckpointSubject): readonly StoreConformanceCase[] {
  const scenarios = { ...recordScenarios, ...keyScenarios };
  return Object.entries(scenarios).map(([name, check]) => ({
    name,
    run: async () => check(await subject.open(), subject),
  }));
}
