/** Damaged rings: whatever their memory says, an operation ends, with a value of the ring or a typed error. */
import { isFabricError, regionOf, type MemLease } from "@selvage/fabric";
import { Fabric, FabricQueue } from "@selvage/node";

export interface FuzzOutcome {
  readonly inputs: number;
  readonly values: number;
  readonly errors: Readonly<Record<string, number>>;
  readonly slowestMs: number;
}

const kinds = ["slots", "records", "many"] as const;
/** Words of the header that mean something: see `docs/memory-map.md`. */
const headerWords: readonly number[] = [
  0, 1, 2, 3, 4, 5, 6, 32, 33, 64, 65, 96, 97, 98, 99, 100, 101, 128, 129, 160, 161, 192, 193, 224,
];
const around = 0x5a;
const stride = 24;
const capacity = 5;
const optionsOf = (kind: (typeof kinds)[number]) => ({
  many: kind === "many",
  records: kind === "records",
  unblockAfterMs: 0,
});

/** A ring between two neighbours. */
class Rig {
  readonly fabric: Fabric;
  readonly lease: MemLease;
  readonly words: Int32Array;
  readonly #neighbours: readonly MemLease[];

  constructor() {
    const bytes = FabricQueue.bytesFor(capacity, stride, optionsOf("records"));
    this.fabric = Fabric.open({ memoryBytes: 1 << 16, blocks: 0, maxLeases: 8, tick: "manual" });
    const [before, lease, after] = [4_096, bytes, 4_096].map((size) =>
      this.fabric.mem().minBytes(size).leaseMs(1e9).acquire(),
    ) as [MemLease, MemLease, MemLease];
    for (const other of [before, after]) other.write(0, new Uint8Array(4_096).fill(around));
    this.lease = lease;
    this.#neighbours = [before, after];
    const { memory, offset } = regionOf(lease);
    this.words = memory.plain.subarray(offset / 4, (offset + lease.bytes) / 4);
  }

  checkNeighbours(what: string): void {
    for (const lease of this.#neighbours)
      if (lease.with((view) => view.reduce((sum, byte) => sum + byte, 0)) !== 4_096 * around)
        throw new Error(`${what}: wrote beyond the ring`);
  }
}

/** Numbers below `limit`, the same for the same seed. */
function dice(seed: number): (limit: number) => number {
  let state = seed | 1;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

function operate(queue: FabricQueue, pick: number): Uint8Array | undefined {
  const value = new Uint8Array(1 + (pick % stride)).fill(7);
  const into = new Uint8Array(stride);
  switch (pick % 11) {
    case 0:
      return void queue.push(value);
    case 1:
      return void queue.pushBatch([value, value, value]);
    case 2:
      if (queue.claim()?.fill(7) !== undefined) queue.commit();
      return undefined;
    case 3:
      return queue.pop();
    case 4: {
      const bytes = queue.popInto(into);
      return bytes < 0 ? undefined : into.subarray(0, bytes);
    }
    case 5:
      return queue.popBatch(100)[0];
    case 6:
      return queue.peek()?.slice();
    case 7:
      return queue.stats() && undefined;
    case 8:
      queue.flush();
      return undefined;
    case 9:
      return queue.popWait(0);
    default:
      return void queue.pushWait(value, 0);
  }
}

/** Rings with a bit flipped or words replaced, from before they were joined or while they are in use. */
export function fuzzQueues(inputs: number, seed: number): FuzzOutcome {
  const rig = new Rig();
  const next = dice(seed);
  const errors: Record<string, number> = {};
  const flips = headerWords.length * 32;
  let values = 0;
  let slowestMs = 0;
  for (let input = 0; input < inputs; input++) {
    const kind = kinds[input % 3] as (typeof kinds)[number];
    rig.words.fill(0);
    let queue = new FabricQueue(rig.lease, capacity, stride, undefined, optionsOf(kind));
    for (let id = next(12); id > 0; id--) {
      queue.push(new Uint8Array(1 + next(stride)).fill(1 + next(60)));
      if (next(3) === 0) queue.pop();
    }
    queue.flush();
    const isInUse = next(2) === 0;
    if (!isInUse) queue[Symbol.dispose]();
    // Every bit of every word of the header first; then one to four words anywhere.
    const flip = Math.floor(input / 3);
    if (flip < flips) (rig.words[headerWords[flip >> 5] as number] as number) ^= 1 << (flip & 31);
    else
      for (let count = 1 + next(4); count > 0; count--) {
        const at = next(2) === 0 ? next(rig.words.length) : (headerWords[next(24)] as number);
        rig.words[at] = next(3) === 0 ? next(300) - 2 : next(2 ** 32);
      }
    const startMs = performance.now();
    const attempt = (run: () => Uint8Array | undefined): void => {
      try {
        const value = run();
        if (value === undefined) return;
        values++;
        const isAround = value.length > 7 && value.every((byte) => byte === around);
        if (value.length > stride || isAround)
          throw new Error(`input ${input}, seed ${seed}: ${value.length} bytes, not of the ring`);
      } catch (thrown) {
        if (!isFabricError(thrown)) throw thrown;
        errors[thrown.code] = (errors[thrown.code] ?? 0) + 1;
      }
    };
    if (!isInUse)
      attempt(() => void (queue = FabricQueue.attach(rig.lease, undefined, { unblockAfterMs: 0 })));
    for (let step = 0; step < 12; step++) attempt(() => operate(queue, next(1 << 16)));
    attempt(() => {
      queue[Symbol.dispose]();
      return undefined;
    });
    slowestMs = Math.max(slowestMs, performance.now() - startMs);
    rig.checkNeighbours(`input ${input}, seed ${seed}`);
  }
  rig.fabric[Symbol.dispose]();
  return { inputs, values, errors, slowestMs };
}
