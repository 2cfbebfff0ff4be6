/**
 * Question: what does an item cost in a pipeline of a map and a filter, against what programs use for that? And what does
 * an edge cost that survives its memory?
 *
 * Workload: small integers through a map, a filter and a sum, each side in a process of its own. "fused": from an array.
 * "chunked": from an async generator of arrays of 256. "single": from an async generator of items, as async generators,
 * Effect and Web Streams have it. "queued": with a `FabricQueue` and MessagePack between every two stages.
 * "threads": the map and the filter are a stage on a thread of its own, from when that is there; "threadsLong": it gives back
 * bytes, 4 KiB of them.
 * Baseline: async generators, `node:stream` in object mode with two Transforms, Web Streams with two TransformStreams, RxJS (from
 * an array: it has no backpressure), Effect's Stream, and a loop by hand; for "threads" the same thread by `postMessage`, item by item.
 * Not measured: stages that wait, where the waiting is what costs; items that are large.
 */
import { childSubject } from "./children.ts";
import { healthyEdge, relocationStall } from "./edge.bench.ts";
import { takeTurns, type Result } from "./harness.ts";
import { atLeast, type Suite } from "./suite.ts";

const worker = new URL("./pipeline-worker.ts", import.meta.url);

const peers = {
  "async generators": "generators",
  "node:stream": "node",
  "Web Streams": "web",
  RxJS: "rxjs",
  "Effect Stream": "effect",
  "a loop": "loop",
} as const;

/** Our ways, and what each is held to (`anchors/perf.md` section 3, row 18). */
const ways = [
  ["fused", "map and filter, from an array", { generators: 25, node: 15, web: 300 }],
  ["chunked", "map and filter, from chunks of 256", { generators: 25, node: 15, web: 300 }],
  ["single", "map and filter, from single items", { generators: 1 }],
  ["queued", "map and filter, with queues between", {}],
] as const;

const acrossThreads = [
  ["map and filter, across threads", "threads", "messages"],
  ["4 KiB there and back, across threads", "threadsLong", "messagesLong"],
] as const;

/** Items a turn: enough for a millisecond of the fast sides; the slow ones need fewer. */
const items: Readonly<Record<string, number>> = {
  loop: 1_000_000,
  fused: 1_000_000,
  chunked: 1_000_000,
  rxjs: 200_000,
  single: 100_000,
  generators: 100_000,
  node: 100_000,
  queued: 20_000,
  effect: 20_000,
  web: 20_000,
  threads: 200_000,
  messages: 200_000,
  threadsLong: 10_000,
  messagesLong: 10_000,
};

export const pipelineSuite: Suite = {
  name: "pipeline",
  question: "What does an item cost in a pipeline, and what does an edge that survives its memory?",
  async run(effort) {
    const { smoke, rounds, progress } = effort;
    const subjects = Object.entries(items).map(([side, count]) =>
      childSubject(side, worker, [side, String(smoke ? 2_000 : count)]),
    );
    const samples = await takeTurns(subjects, {
      rounds: smoke ? 2 : (rounds ?? 15),
      warmups: smoke ? 0 : 4,
      progress,
    });
    const results: Result[] = ways.map(([side, name, floors]) =>
      samples.result({
        suite: "pipeline",
        name,
        subject: side,
        step: "op",
        peers: Object.fromEntries(
          Object.entries(peers).map(([peer, subject]) => [peer, [subject, "op"] as const]),
        ),
        targets: Object.entries(floors).map(([subject, floor]) => {
          const [peer] = Object.entries(peers).find(([, of]) => of === subject) ?? [subject];
          return atLeast(peer, samples.median(subject, "op") / samples.median(side, "op"), floor);
        }),
      }),
    );
    for (const [name, subject, peer] of acrossThreads) {
      const ratio = samples.median(peer, "op") / samples.median(subject, "op");
      results.push(
        samples.result({
          suite: "pipeline",
          name,
          subject,
          step: "op",
          peers: { postMessage: [peer, "op"] },
          targets: [atLeast("postMessage", ratio, 1)],
        }),
      );
    }
    return [...results, ...(await healthyEdge(effort)), await relocationStall(effort)];
  },
};
