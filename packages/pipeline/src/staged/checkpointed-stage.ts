/**
 * A stage with state: what it has read, what it has made of that, and what it has sent move on in one write.
 *
 * Invariant P1: after any crash the state is the effect of each input exactly once, and each output has the number that it had
 * before. In the order of a checkpoint: outputs are durable, or published; then input offset, state and output offset are
 * written together; then the input is acknowledged. Whatever a crash leaves undone is done again from the offsets.
 * Invariant P2: an instance that was replaced overwrites nothing: `Durable` compares generations.
 * Invariant P3: a checkpoint that cannot be read is told, and the one before it is taken: its inputs come again.
 */
import { Durable } from "@selvage/collections";
import {
  FabricError,
  invalidArgument,
  jsonCodec,
  type AbortSignalLike,
  type BlockLease,
  type Codec,
  type RecordBlocks,
} from "@selvage/fabric";

/** What a stage's checkpoint holds. */
export interface StageCheckpoint<S> {
  /** Number of the first input item that is not in the state. */
  readonly input: number;
  /** Number of the next output item. */
  readonly output: number;
  readonly state: S;
}

/** Where a stage's items come from: a consumer's end of an edge. */
export interface StageInput<T> {
  /** Number of the item that was popped last. */
  readonly sequence: number;
  popAsync(options: { readonly signal?: AbortSignalLike }): Promise<T | undefined>;
  /** Everything that was popped has been dealt with. */
  acknowledge(): void | Promise<void>;
}

/** Where its results go: a producer's end of an edge. */
export interface StageOutput<T> {
  /** Number of the item that is sent next. */
  readonly nextSequence: number;
  send(value: T): Promise<boolean>;
  /** Publishes what was sent, or makes it durable. */
  flush(): void | Promise<void>;
}

/** What one item came to. */
export interface StageStep<S, Out> {
  readonly state: S;
  readonly outputs?: readonly Out[];
}

/** How a stage runs. */
export interface StageRun<S, In, Out> {
  readonly input: StageInput<In>;
  /** Default: what the steps give is not sent anywhere. */
  readonly output?: StageOutput<Out>;
  /**
   * What an item makes of the state. It leaves the state that it is given as it is, and gives the same for the same: after a
   * crash it is called again.
   */
  readonly step: (
    state: S,
    item: In,
    sequence: number,
  ) => StageStep<S, Out> | Promise<StageStep<S, Out>>;
  /** Items from one checkpoint to the next. Default 100. */
  readonly every?: number;
  readonly signal?: AbortSignalLike;
}

/** What a run came to. */
export interface StageTotals {
  /** Items that went into the state. */
  readonly taken: number;
  /** Items that came again, and were in the state already. */
  readonly dropped: number;
  /** Results that were sent. */
  readonly sent: number;
  /** Results that came to be made again, and had been sent already. */
  readonly resent: number;
  readonly checkpoints: number;
}

/**
 * A stage on a block lease.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { CheckpointedStage, Fabric } from "selvage";
 *
 * await using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 16 });
 * const blocks = await fabric.block().minBlocks(8).acquire();
 * const stage = await CheckpointedStage.restore(blocks, () => ({ sum: 0 }));
 *
 * const items = [3, 4, 5];
 * let sequence = -1;
 * const input = {
 *   get sequence() {
 *     return sequence;
 *   },
 *   popAsync: async () => items[++sequence],
 *   acknowledge: () => {},
 * };
 * await stage.run({ input, step: ({ sum }, item: number) => ({ state: { sum: sum + item } }) });
 *
 * const again = await CheckpointedStage.restore(await stage.intoBlockLease(), () => ({ sum: 0 }));
 * assert.deepEqual(again.checkpoint, { input: 3, output: 0, state: { sum: 12 } });
 * ```
 */
export class CheckpointedStage<S, B extends RecordBlocks = BlockLease> {
  readonly #durable: Durable<StageCheckpoint<S>, B>;
  #isRunning = false;

  private constructor(durable: Durable<StageCheckpoint<S>, B>) {
    this.#durable = durable;
  }

  /**
   * The stage whose newest whole checkpoint is on `blocks`, or a new one with `initial`. It writes at once: whoever had the stage
   * before is stale from then on, before this one acts.
   * @throws FabricError `CORRUPT_RECORD`, `DECODE`, `CAPACITY_EXCEEDED`, what the blocks throw.
   */
  static async restore<S, B extends RecordBlocks = BlockLease>(
    blocks: B,
    initial: () => S,
    codec: Codec<StageCheckpoint<S>> = jsonCodec<StageCheckpoint<S>>(),
  ): Promise<CheckpointedStage<S, B>> {
    const first = (): StageCheckpoint<S> => ({ input: 0, output: 0, state: initial() });
    const durable = await Durable.restore<StageCheckpoint<S>, B>(blocks, codec, first);
    await durable.checkpoint();
    return new CheckpointedStage(durable);
  }

  /** Where the stage stands. What its edges begin with: `from: checkpoint.input` and `from: checkpoint.output`. */
  get checkpoint(): StageCheckpoint<S> {
    return this.#durable.value;
  }

  /** Set when a checkpoint could not be read: this is the one before it, and what came since is done again. */
  get recovered(): { readonly slot: 0 | 1 } | undefined {
    return this.#durable.recovered;
  }

  /**
   * Takes items until the input is over, and leaves a checkpoint behind. A step, a checkpoint or an edge that fails ends the run
   * with its error; the last checkpoint stands.
   * @throws FabricError `CONFLICT` (it runs already), `STALE_EPOCH` (another instance has the stage), `CORRUPT_RECORD` (the output
   * has not come as far as the checkpoint says), what steps, edges and blocks throw.
   */
  async run<In, Out = never>(run: StageRun<S, In, Out>): Promise<StageTotals> {
    const { every = 100 } = run;
    if (!Number.isSafeInteger(every) || every < 1)
      throw invalidArgument("every", "a whole number of items from 1 up", every);
    if (this.#isRunning)
      throw new FabricError("CONFLICT", "Cannot run the stage: it is running", {});
    this.#isRunning = true;
    try {
      return await this.#work(run, every);
    } finally {
      this.#isRunning = false;
    }
  }

  /** Ends the stage, and resolves with its blocks. */
  intoBlockLease(): Promise<B> {
    return this.#durable.intoBlockLease();
  }

  async #work<In, Out>(run: StageRun<S, In, Out>, every: number): Promise<StageTotals> {
    const { input, output, step, signal } = run;
    const totals = { taken: 0, dropped: 0, sent: 0, resent: 0, checkpoints: 0 };
    let { input: next, output: number, state } = this.checkpoint;
    if (output !== undefined && output.nextSequence < number)
      throw new FabricError(
        "CORRUPT_RECORD",
        "Cannot go on: the output has less than the checkpoint says was sent",
        { sent: number, output: output.nextSequence },
      );
    const save = async (): Promise<void> => {
      await output?.flush();
      await this.#durable.mutate(() => ({ input: next, output: number, state }));
      await this.#durable.checkpoint();
      totals.checkpoints++;
      await input.acknowledge();
    };
    for (;;) {
      const item = await input.popAsync(signal === undefined ? {} : { signal });
      if (item === undefined) break;
      const { sequence } = input;
      if (sequence < next) {
        totals.dropped++;
        continue;
      }
      const { state: after, outputs = [] } = await step(state, item, sequence);
      for (const value of outputs) {
        // Sent before a crash, and not in the checkpoint.
        if (output !== undefined && number >= output.nextSequence) {
          await output.send(value);
          totals.sent++;
        } else totals.resent++;
        number++;
      }
      [state, next] = [after, sequence + 1];
      totals.taken++;
      if (totals.taken % every === 0) await save();
    }
    await save();
    return totals;
  }
}
