/**
 * `node queue-process.ts fuzz <inputs> <seed>`: damaged rings. `node --expose-gc queue-process.ts bytes <operations>`: what
 * operations allocate. One line of JSON.
 */
import { getHeapStatistics } from "node:v8";
import { recordCodec } from "@selvage/fabric";
import { Fabric, FabricQueue } from "@selvage/node";
import { fuzzQueues } from "./queue-fuzz.ts";

const stride = 64;
const codec = recordCodec({ id: "int32", price: "float64" });

function subjects(fabric: Fabric): Record<string, () => void> {
  const made = <T>(kind: "slots" | "records" | "many", own?: typeof codec): FabricQueue<T> => {
    const options = { many: kind === "many", records: kind === "records" };
    const lease = fabric
      .mem()
      .minBytes(FabricQueue.bytesFor(64, stride, options))
      .acquire();
    return new FabricQueue<T>(lease, 64, stride, own as never, options);
  };
  const source = new Uint8Array(stride).fill(1);
  const odd = new Uint8Array(13).fill(2);
  const target = new Uint8Array(stride);
  const all: Record<string, () => void> = {};
  for (const kind of ["slots", "records", "many"] as const) {
    const reused = made<Uint8Array>(kind);
    all[`${kind}: push, popInto`] = twice(
      () => reused.push(source),
      () => reused.popInto(target),
    );
    const short = made<Uint8Array>(kind);
    all[`${kind}: push, popInto, 13 bytes`] = twice(
      () => short.push(odd),
      () => short.popInto(target),
    );
    const records = made<{ id: number; price: number }>(kind, codec);
    const record = { id: 1, price: 0.5 };
    all[`${kind}: push of a layout, popInto`] = twice(
      () => records.push(record),
      () => records.popInto(target),
    );
    if (kind === "records") continue;
    const claims = made<Uint8Array>(kind);
    all[`${kind}: claim, commit, peek, consume`] = twice(
      () => {
        const claimed = claims.claim();
        if (claimed !== undefined) claimed[0] = 1;
        claims.commit();
      },
      () => claims.peek()?.[0] === 1 && claims.consume(),
    );
  }
  return all;
}

const burst = 32;

/** A burst of the one, then of the other: as two threads do. What a change of sides costs is not an operation's. */
function twice(one: () => unknown, other: () => unknown): () => void {
  return () => {
    for (let index = 0; index < burst; index++) one();
    for (let index = 0; index < burst; index++) other();
  };
}

/** Bytes that one operation allocates. A heap whose young generation holds them all loses none to the collector. */
function bytesOf(run: () => void, operations: number): number {
  const turns = operations / 2 / burst;
  for (let turn = 0; turn < 10_000; turn++) run();
  globalThis.gc?.();
  const before = getHeapStatistics().used_heap_size;
  for (let turn = 0; turn < turns; turn++) run();
  return (getHeapStatistics().used_heap_size - before) / (turns * 2 * burst);
}

const [what, ...numbers] = process.argv.slice(2);
const [count = 0, seed = 0] = numbers.map(Number);
if (what === "fuzz") console.log(JSON.stringify(fuzzQueues(count, seed)));
else {
  using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 0, maxLeases: 64, tick: "manual" });
  const bytes = Object.entries(subjects(fabric)).map(([name, run]) => [name, bytesOf(run, count)]);
  console.log(JSON.stringify(Object.fromEntries(bytes)));
}
