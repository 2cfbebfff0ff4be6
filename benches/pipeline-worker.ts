/**
 * One side of the pipeline benchmark, in a process of its own, because one code that serves several sides is compiled for
 * none of them: `pipeline-worker.ts <side> <items>`.
 */
import { Readable, Transform, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Worker } from "node:worker_threads";
import { Effect, Stream } from "effect";
import * as rx from "rxjs";
import { Pipeline, runStages } from "@selvage/node";
import { serveTurns } from "./children.ts";
import { filter, itemsOf, map, slowArraysOf, slowItemsOf } from "./pipeline-workload.ts";

/** Items that travel together, where they do. */
const chunkItems = 256;

/** Computes; one that has to start something first says when the clock begins. */
type Side = (items: readonly number[], begin: () => void) => Promise<number> | number;

async function* mapped(source: AsyncIterable<number>): AsyncGenerator<number> {
  for await (const item of source) yield map(item);
}

async function* filtered(source: AsyncIterable<number>): AsyncGenerator<number> {
  for await (const item of source) if (filter(item)) yield item;
}

/** Runs a line of ours, and checks that it came to its end. */
async function summed(line: Pipeline<number>, options = {}): Promise<number> {
  let sum = 0;
  const sink = line
    .map(map)
    .filter(filter)
    .sink((item) => {
      sum += item;
    });
  const { status, error } = await sink.run(options);
  if (status !== "succeeded") throw error;
  return sum;
}

function node(items: readonly number[]): Promise<number> {
  let sum = 0;
  const stages = [
    Readable.from(items),
    new Transform({
      objectMode: true,
      transform: (item: number, _encoding, done) => done(null, map(item)),
    }),
    new Transform({
      objectMode: true,
      transform: (item: number, _encoding, done) => (filter(item) ? done(null, item) : done(null)),
    }),
    new Writable({
      objectMode: true,
      write(item: number, _encoding, done) {
        sum += item;
        done();
      },
    }),
  ];
  return pipeline(stages).then(() => sum);
}

async function web(items: readonly number[]): Promise<number> {
  let sum = 0;
  await ReadableStream.from(items)
    .pipeThrough(
      new TransformStream<number, number>({
        transform: (item, controller) => controller.enqueue(map(item)),
      }),
    )
    .pipeThrough(
      new TransformStream<number, number>({
        transform(item, controller) {
          if (filter(item)) controller.enqueue(item);
        },
      }),
    )
    .pipeTo(
      new WritableStream({
        write(item) {
          sum += item;
        },
      }),
    );
  return sum;
}

const stage = new URL("./pipeline-stage-worker.ts", import.meta.url);

type Work = number | Uint8Array;
const weigh = (value: Work): number => (typeof value === "number" ? value : (value[0] as number));

/** Items of 4 KiB. */
const bytesOf = (items: readonly number[]): Uint8Array[] =>
  items.map((item) => new Uint8Array(4_096).fill(item));

/** One stage on a thread of its own, from when it is there. */
async function threads(source: readonly Work[], begin: () => void): Promise<number> {
  let sum = 0;
  const { result } = runStages<Work, Work>({
    source,
    stages: [{ name: "work", module: stage }],
    stride: typeof source[0] === "number" ? 64 : 4_104,
    sink(items) {
      for (const { value } of items) sum += weigh(value);
    },
    onEvent: ({ type }) => type === "ready" && begin(),
  });
  const { status, error } = await result;
  if (status !== "succeeded") throw error;
  return sum;
}

/** The same thread, sent each item: nothing bounds what is on the way. */
async function messages(items: readonly Work[], begin: () => void): Promise<number> {
  let sum = 0;
  const worker = new Worker(stage, { workerData: "messages" });
  await new Promise<void>((resolve, reject) => {
    worker.on("error", reject);
    worker.once("message", () => {
      begin();
      worker.on("message", (value: Work | null) => {
        if (value === null) resolve();
        else sum += weigh(value);
      });
      for (const item of items) worker.postMessage(item);
      worker.postMessage(null);
    });
  });
  await worker.terminate();
  return sum;
}

const sides: Readonly<Record<string, Side>> = {
  loop(items) {
    let sum = 0;
    for (const item of items) {
      const value = map(item);
      if (filter(value)) sum += value;
    }
    return sum;
  },
  fused: (items) => summed(Pipeline.fromSource(items)),
  chunked: (items) => summed(Pipeline.fromChunks(slowArraysOf(items, chunkItems))),
  single: (items) => summed(Pipeline.fromSource(slowItemsOf(items))),
  queued: (items) => summed(Pipeline.fromSource(items), { edges: "queue" }),
  async generators(items) {
    let sum = 0;
    for await (const item of filtered(mapped(slowItemsOf(items)))) sum += item;
    return sum;
  },
  node,
  web,
  threads,
  messages,
  threadsLong: (items, begin) => threads(bytesOf(items), begin),
  messagesLong: (items, begin) => messages(bytesOf(items), begin),
  rxjs: (items) =>
    rx.lastValueFrom(
      rx.from(items).pipe(
        rx.map(map),
        rx.filter(filter),
        rx.reduce((sum, item) => sum + item, 0),
      ),
    ),
  effect: (items) =>
    Effect.runPromise(
      Stream.fromAsyncIterable(slowItemsOf(items), String).pipe(
        Stream.map(map),
        Stream.filter(filter),
        Stream.runFold(
          () => 0,
          (sum, item) => sum + item,
        ),
      ),
    ),
};

function main([name = "", itemsText]: readonly string[]): void {
  const side = sides[name];
  if (side === undefined) throw new Error(`no side ${name}`);
  const items = itemsOf(Number(itemsText));
  serveTurns(async () => {
    let begunAt = process.hrtime.bigint();
    const checksum = await side(items, () => (begunAt = process.hrtime.bigint()));
    return { op: { ns: Number(process.hrtime.bigint() - begunAt), ops: items.length, checksum } };
  });
}

main(process.argv.slice(2));
