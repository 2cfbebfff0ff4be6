/** A stream through a stage that is moved while it runs. */
import {
  CheckpointedStage,
  Fabric,
  HandoffReader,
  HandoffWriter,
  openEdge,
  RelocatableQueueEdge,
  isFabricError,
  msgpackCodec,
  type BlockLease,
  type EdgeOptions,
  type OpenEdgeOptions,
  type StageStep,
} from "selvage";

/** Items of the sink are counted by so many milliseconds. */
export const BUCKET_MS = 10;
const CAPACITY = 512;
const STRIDE = 16;

/** What a run came to. */
export interface MoveTotals {
  readonly items: number;
  /** Every item once, in order, with the sum that the stage's state had by then. */
  readonly isRight: boolean;
  /** From the last item of the old place to the first one of the new. */
  readonly stallMs: number;
  readonly movedAtMs: number;
  /** What became of the instance that stayed behind. */
  readonly refused: string;
  /** Items by `BUCKET_MS`. */
  readonly perBucket: readonly number[];
}

interface Sum {
  readonly sum: number;
}

// The stage: running sums. What it gives tells whether each item went into the state once.
const add = ({ sum }: Sum, item: number): StageStep<Sum, number> => ({
  state: { sum: sum + item },
  outputs: [sum + item],
});

/** Runs a stream for `ms` milliseconds, and moves its stage half-way. */
export async function moveInFlight(ms: number): Promise<MoveTotals> {
  await using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 64 });
  const into = await joined(fabric, "into");
  const out = await joined(fabric, "out");
  const blocks = await fabric.block().minBlocks(8).leaseSecs(600).acquire();
  const begunAt = performance.now();
  const source = feed(into.producer, () => performance.now() - begunAt < ms);
  const sink = new CountingSink(begunAt);
  const sunk = sink.drain(await out.consume({}));

  const first = await CheckpointedStage.restore(blocks, () => ({ sum: 0 }));
  const firstInput = await into.consume({ acknowledge: "manual" });
  const firstRun = first
    .run({ input: firstInput, output: out.producer, step: add, every: 200 })
    .then(() => "ran to the end", codeOf);

  await new Promise((resolve) => setTimeout(resolve, ms / 2));
  const movedAtMs = performance.now() - begunAt;
  sink.note();
  // Who restores has the stage: the first instance can write no checkpoint, and so acknowledge nothing, from here on.
  const second = await CheckpointedStage.restore(blocks, () => ({ sum: 0 }));
  const { input: from, output } = second.checkpoint;
  firstInput[Symbol.dispose]();
  await into.producer.relocate();
  const secondOutput = await out.takeOver(output);
  const secondRun = second.run({
    input: await into.consume({ acknowledge: "manual", from }),
    output: secondOutput,
    step: add,
    every: 200,
  });
  const items = await source;
  await secondRun;
  await secondOutput.close({ timeoutMs: 10_000 });
  await sunk;
  const refused = await firstRun;
  const { perBucket, stallMs } = sink;
  return { items, isRight: sink.isRight(items), stallMs, movedAtMs, refused, perBucket };
}

async function feed(edge: RelocatableQueueEdge<number>, goesOn: () => boolean): Promise<number> {
  let item = 0;
  while (goesOn()) {
    for (let burst = 0; burst < 64; burst++) await edge.send(++item);
    // A source has other things to do.
    await new Promise((resolve) => setImmediate(resolve));
  }
  await edge.close({ timeoutMs: 10_000 });
  return item;
}

/** What gets the sums. */
class CountingSink {
  readonly perBucket: number[] = [];
  stallMs = 0;
  readonly #begunAt: number;
  #lastAt = 0;
  #isNoted = false;
  #items = 0;
  #isWrong = false;

  constructor(begunAt: number) {
    this.#begunAt = begunAt;
  }

  /** The next item is the first after the move began. */
  note(): void {
    this.#isNoted = true;
  }

  async drain(edge: RelocatableQueueEdge<number>): Promise<void> {
    for await (const sum of edge) {
      const at = performance.now() - this.#begunAt;
      if (this.#isNoted) this.stallMs = Math.max(this.stallMs, at - this.#lastAt);
      this.#lastAt = at;
      const bucket = Math.floor(at / BUCKET_MS);
      while (this.perBucket.length <= bucket) this.perBucket.push(0);
      this.perBucket[bucket] = (this.perBucket[bucket] ?? 0) + 1;
      this.#items++;
      if (sum !== (this.#items * (this.#items + 1)) / 2) this.#isWrong = true;
    }
  }

  isRight(items: number): boolean {
    return !this.#isWrong && this.#items === items;
  }
}

/** An edge of this example, and how its ends are opened. */
interface OpenEdge {
  readonly producer: RelocatableQueueEdge<number>;
  consume(options: EdgeOptions): Promise<RelocatableQueueEdge<number>>;
  /** Another producer, whose next item is number `from`. */
  takeOver(from: number): Promise<RelocatableQueueEdge<number>>;
}

async function joined(fabric: Fabric, name: string): Promise<OpenEdge> {
  const blocks: BlockLease = await fabric
    .block()
    .minBlocks(HandoffWriter.BLOCKS)
    .leaseSecs(600)
    .acquire();
  const codec = msgpackCodec<number>();
  const make = async (
    options: Partial<OpenEdgeOptions<number>>,
  ): Promise<RelocatableQueueEdge<number>> =>
    openEdge(fabric, await HandoffWriter.open(blocks, name), {
      capacity: CAPACITY,
      stride: STRIDE,
      codec,
      ...options,
    });
  const producer = await make({});
  return {
    producer,
    consume: (options) =>
      RelocatableQueueEdge.attach(fabric, new HandoffReader(blocks), { codec, ...options }),
    takeOver: (from) => make({ from, takeOver: new HandoffReader(blocks) }),
  };
}

function codeOf(error: unknown): string {
  return isFabricError(error) ? error.code : String(error);
}
