/** What every {@link OutputStore} must do. Ours pass it; so must yours. */
import { expectSame, type StoreConformanceCase } from "@selvage/collections";
import type { OutputStore } from "./output-store.ts";

/** Makes what the cases run on. */
export interface OutputSubject {
  /** A new store that holds nothing, with room for 64 KiB. */
  open(): Promise<OutputStore>;
  /** The same outputs through another handle, as a new process would find them. Left out where nothing outlives the store. */
  reopen?(store: OutputStore): Promise<OutputStore>;
}

type Scenario = (store: OutputStore, subject: OutputSubject) => Promise<void>;

const one = Uint8Array.of(1);
const two = Uint8Array.of(2);

const scenarios: Readonly<Record<string, Scenario>> = {
  "a chunk that was never stored has no output": async (store) => {
    expectSame("has", await store.has("a"), false);
    expectSame("get", await store.get("a"), undefined);
  },
  "O2: an output comes back as it was stored, byte for byte": async (store) => {
    const output = Uint8Array.from({ length: 4_096 }, (_, at) => at % 251);
    expectSame("stored", await store.put("a", output), true);
    expectSame("has", await store.has("a"), true);
    expectSame("output", await store.get("a"), output);
    expectSame("again", await store.get("a"), output);
  },
  "an output of no bytes is an output": async (store) => {
    expectSame("stored", await store.put("a", new Uint8Array(0)), true);
    expectSame("has", await store.has("a"), true);
    expectSame("output", await store.get("a"), new Uint8Array(0));
    expectSame("another", await store.put("a", one), false);
  },
  "O1: the first output stays": async (store) => {
    expectSame("first", await store.put("a", one), true);
    expectSame("second", await store.put("a", two), false);
    expectSame("the same", await store.put("a", one), false);
    expectSame("output", await store.get("a"), one);
  },
  "O1: of many that put at once, one is first": async (store) => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, at) => store.put("a", Uint8Array.of(10 + at))),
    );
    const winners = answers.flatMap((isFirst, at) => (isFirst ? [at] : []));
    expectSame("winners", winners.length, 1);
    expectSame("output", await store.get("a"), [10 + (winners[0] ?? 0)]);
  },
  "many chunks that are put at once are all there": async (store) => {
    const ids = Array.from({ length: 50 }, (_, at) => `chunk ${at}`);
    const answers = await Promise.all(ids.map((id, at) => store.put(id, Uint8Array.of(at))));
    expectSame("stored", answers.every(Boolean), true);
    for (const [at, id] of ids.entries()) expectSame(id, await store.get(id), [at]);
  },
  "ids are apart, whatever text they are": async (store) => {
    const ids = ["a", "A", "a ", "ключ", "../x", "a\u0000b", "a'b", "%", "__proto__"];
    for (const [at, id] of ids.entries()) await store.put(id, Uint8Array.of(at));
    for (const [at, id] of ids.entries()) expectSame(`get ${id}`, await store.get(id), [at]);
  },
  "what a caller does to its bytes changes no output": async (store) => {
    const given = Uint8Array.of(1, 2);
    const stored = store.put("a", given);
    given.fill(9);
    await stored;
    (await store.get("a"))?.fill(9);
    expectSame("output", await store.get("a"), [1, 2]);
  },
  "another handle finds the outputs, and they are first there, too": async (store, subject) => {
    if (subject.reopen === undefined) return;
    await store.put("a", one);
    const other = await subject.reopen(store);
    expectSame("has", [await other.has("a"), await other.has("b")], [true, false]);
    expectSame("put", [await other.put("a", two), await other.put("b", two)], [false, true]);
    expectSame("outputs", [await other.get("a"), await other.get("b")], [[1], [2]]);
  },
};

/** The cases for the stores that `subject` opens. */
export function outputConformance(subject: OutputSubject): readonly StoreConformanceCase[] {
  return Object.entries(scenarios).map(([name, check]) => ({
    name,
    run: async () => check(await subject.open(), subject),
  }));
}
