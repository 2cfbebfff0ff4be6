/** Bodies of tasks on worker threads. Which one is the `body` of the module's URL; the rest of its query is for that. */
import { threadId } from "node:worker_threads";
import type { Columns } from "@selvage/fabric";
import { FabricError, isFabricError } from "@selvage/fabric";
import type { TaskContext, TaskFunction, TaskOutput } from "@selvage/batch";

const query = new URL(import.meta.url).searchParams;
const ms = Number(query.get("ms") ?? 0);

/** Works for `ms` and does nothing else: no loop turn, no word to anyone. */
function busy(forMs: number, beat?: () => void): void {
  const untilMs = performance.now() + forMs;
  while (performance.now() < untilMs) {
    const nextMs = performance.now() + 10;
    while (performance.now() < nextMs);
    beat?.();
  }
}

function codeOf(run: () => unknown): string {
  try {
    run();
    return "passed";
  } catch (thrown) {
    return isFabricError(thrown) ? thrown.code : String(thrown);
  }
}

function text(line: string): Uint8Array {
  return new TextEncoder().encode(line);
}

function sum(column: Iterable<number | bigint> | undefined): number {
  return [...(column ?? [])].reduce<number>((total, value) => total + Number(value), 0);
}

const pause = (forMs: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, forMs);
  });

/** What bodies leave for those that the same thread runs later. Every query is a module of its own: so it is global. */
interface Left {
  stashed?: Uint8Array;
  lingered?: string;
}
const left: Left = ((globalThis as { selvageTest?: Left }).selvageTest ??= {});

const bodies: Readonly<Record<string, TaskFunction>> = {
  /** Allocates `y`, twice each byte of `x`. */
  double(context) {
    const x = context.input("x");
    const y = context.allocate("y", x.length);
    for (const [at, byte] of x.entries()) y[at] = 2 * byte;
  },
  /** Returns `y`, the sums of the columns of `x`, as columns. */
  sum(context) {
    const x = context.input<Columns>("x");
    return {
      y: { id: Int32Array.of(sum(x["id"])), big: BigInt64Array.of(BigInt(sum(x["big"]))) },
    };
  },
  /** Allocates too long, and returns the beginning; replaces an allocation by a returned value. */
  shapes(context) {
    const long = context.allocate("long", 1_000);
    long.fill(3);
    context.allocate("replaced", 10).fill(1);
    context.allocate("twice", 10).fill(1);
    context.allocate("twice", 2).fill(2);
    return { long: long.subarray(0, 4), replaced: Uint8Array.of(9) };
  },
  /** Allocates the output `as`, `bytes` of the byte `of`, after what it reads (`from`) was seen to be as it should. */
  relay(context) {
    const from = query.get("from");
    const of = Number(query.get("of"));
    if (from !== null && context.input(from).some((byte) => byte !== of - 1)) throw new Error(from);
    context.allocate(query.get("as") ?? "", Number(query.get("bytes"))).fill(of);
  },
  /** Allocates four outputs at once. */
  hoard(context) {
    for (const name of ["a", "b", "c", "d"]) context.allocate(name, Number(query.get("bytes")));
  },
  /** Returns `y`, an object around what `x` decodes to. */
  wrap: (context) => ({ y: { wrapped: context.input<unknown>("x") } }),
  /** Returns what neither JSON nor MessagePack can say. */
  unsayable: () => ({ y: () => {} }),
  list: () => ({ y: Array.from({ length: Number(query.get("of")) }, () => 1) }),
  exit() {
    process.exit(3);
  },
  /** Runs out of memory. */
  hoards() {
    const hoard: number[][] = [];
    // Large ones: V8 gives up a thread on those, and the process on small ones now and then.
    for (;;) hoard.push(Array.from<number>({ length: 200_000 }).fill(0.5));
  },
  async uncaught() {
    setTimeout(() => {
      throw new Error("from a timer");
    }, 5);
    await pause(60_000);
  },
  endless(context) {
    if (query.has("allocate")) context.allocate("y", 100);
    context.log("looping");
    for (;;);
  },
  async deaf() {
    await pause(60_000);
  },
  listening: (context) =>
    new Promise((_resolve, reject) => {
      context.log("waiting");
      context.signal.addEventListener("abort", () => reject(context.signal.reason));
    }),
  /** Asks for more than there is, and returns what it was told. */
  greedy(context): TaskOutput {
    try {
      context.allocate("y", 2 ** 40);
      return { y: text("granted") };
    } catch (thrown) {
      if (!isFabricError(thrown)) throw thrown;
      const { code, details } = thrown;
      return { y: text(`${code} ${typeof details["largestFreeBytes"]}`) };
    }
  },
  gives: () => ({ y: query.get("y") as unknown as Uint8Array }),
  throws() {
    throw query.get("with") === "string"
      ? ("a string" as unknown as Error)
      : new FabricError("DECODE", "typed", { at: 7 }, { cause: new RangeError("why") });
  },
  thread: () => ({ y: text(String(threadId)) }),
  /** Ends once `with` bodies of this name are at work at the same time. */
  async meet() {
    const channel = new BroadcastChannel("selvage-test-meet");
    const met = new Set([threadId]);
    channel.addEventListener("message", (event) =>
      met.add((event as unknown as { readonly data: number }).data),
    );
    const untilMs = performance.now() + 20_000;
    while (met.size < Number(query.get("with"))) {
      if (performance.now() > untilMs) throw new Error(`alone after 20 s with ${met.size}`);
      channel.postMessage(threadId);
      await pause(5);
    }
    // Once more, so that the last to come is not the only one that knows.
    channel.postMessage(threadId);
    channel.close();
  },
  /** Allocates, then works in silence. */
  silent(context) {
    context.allocate("y", 10).fill(1);
    busy(ms);
  },
  /** Reads in silence, and makes nothing. */
  reads(context) {
    context.input("x");
    busy(ms);
  },
  /** The same, but says that it works. */
  telling(context) {
    context.allocate("y", 10).fill(1);
    busy(ms, () => context.progress());
  },
  /** Uses its context after its end. */
  linger(context) {
    setTimeout(() => {
      const codes = [codeOf(() => context.input("x")), codeOf(() => context.allocate("y", 1))];
      context.log("late");
      context.progress(1);
      left.lingered = codes.join(" ");
    }, 20);
    return { y: text("done") };
  },
  async afterLinger() {
    while (left.lingered === undefined) await pause(5);
    return { z: text(left.lingered) };
  },
  stash(context) {
    left.stashed = context.input("x");
    return { y: text(String(left.stashed.length)) };
  },
  stashed: () => ({ z: text(String(left.stashed?.length)) }),
  epoch: ({ epoch, attempt }) => {
    if (attempt < 3) throw new Error(`attempt ${attempt} of epoch ${epoch.value}`);
    return { y: text(`${attempt}`) };
  },
};

// oxlint-disable-next-line import/no-default-export -- what a task's module gives is its default export.
export default (context: TaskContext): ReturnType<TaskFunction> => {
  const body = bodies[query.get("body") ?? ""];
  if (body === undefined) throw new Error(`no body ${query.get("body")}`);
  return body(context);
};
