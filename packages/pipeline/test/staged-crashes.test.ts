import { BLOCK_BYTES, isFabricError, type RecordBlocks } from "@selvage/fabric";
import {
  BlockCheckpointStore,
  MemoryCheckpointStore,
  StagedPipeline,
  type CheckpointStore,
  type StagedEvent,
} from "@selvage/pipeline";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeRun } from "../src/staged/staged-checkpoint.ts";
import { StagedProcess, VirtualTime, type Mishap } from "./staged-rig.ts";

const id = "nightly";
const payload = { rows: [1, 2, 3] };

/** What the world outside has seen: which stage ran, in which process, by which epoch, on what. */
interface Effect {
  readonly stage: number;
  readonly process: number;
  readonly epoch: number;
  readonly input: string;
}

/** All processes of one history. */
class History {
  readonly time = new VirtualTime();
  readonly effects: Effect[] = [];
  readonly events: StagedEvent[][] = [];
  readonly store: CheckpointStore;
  readonly stages: number;
  readonly stageMs: number;
  #processes = 0;

  constructor(stages: number, store: CheckpointStore, stageMs = 0) {
    this.stages = stages;
    this.store = store;
    this.stageMs = stageMs;
  }

  /** Starts a process that runs the stages; what comes of it, and the process. */
  start(mishap?: Mishap): { process: StagedProcess; outcome: Promise<unknown> } {
    const number = ++this.#processes;
    const process = new StagedProcess(this.time, this.store, number, mishap);
    const events: StagedEvent[] = [];
    this.events.push(events);
    const pipeline = new StagedPipeline(
      { checkpointStore: process.store, leaseMs: 1_000 },
      process.ports,
    );
    for (let stage = 0; stage < this.stages; stage++)
      pipeline.stage(`stage ${stage}`, { retries: 0 }, async (state, { epoch }) => {
        if (this.stageMs > 0) await this.time.wait(this.stageMs);
        return process.step(async () => {
          this.effects.push({ stage, process: number, epoch, input: JSON.stringify(state) });
          return { ...(state as object), [`s${stage}`]: stage };
        });
      });
    const outcome = pipeline
      .run(payload, { pipelineId: id, onEvent: (event) => events.push(event) })
      .catch((error: unknown) => error);
    return { process, outcome: Promise.race([outcome, process.died]) };
  }

  /** What stage `count` is given, or the run gives in the end. */
  stateAfter(count: number): object {
    const made = Array.from({ length: count }, (_, stage) => [`s${stage}`, stage]);
    return { ...payload, ...Object.fromEntries(made) };
  }

  /** The effects that had another state than the one of the stage before. */
  wrongInputs(): readonly Effect[] {
    const isWrong = ({ stage, input }: Effect): boolean =>
      input !== JSON.stringify(this.stateAfter(stage));
    return this.effects.filter((effect) => isWrong(effect));
  }
}

/** Blocks in memory. */
function plainBlocks(numBlocks: number): RecordBlocks {
  const bytes = new Uint8Array(numBlocks * BLOCK_BYTES);
  return {
    numBlocks,
    readInto: async (index, target) => {
      target.set(bytes.subarray(index * BLOCK_BYTES, index * BLOCK_BYTES + target.length));
    },
    write: async (index, source) => bytes.set(source, index * BLOCK_BYTES),
    flush: async () => {},
  };
}

const stores: Readonly<Record<string, () => CheckpointStore>> = {
  memory: () => new MemoryCheckpointStore(),
  blocks: () => new BlockCheckpointStore(plainBlocks(64)),
};

const step = { atStep: fc.integer({ min: 1, max: 14 }), isDone: fc.boolean() };
const mishap = fc.oneof(
  fc.record(step),
  fc.record({ ...step, pauseMs: fc.integer({ min: 1, max: 4_000 }) }),
);
/** What a run may end with that had neighbours, and stood still. */
const overtaken: readonly string[] = ["CONFLICT", "STALE_EPOCH", "STORE_UNAVAILABLE"];

describe.each(Object.entries(stores))("a run kept in %s", (_name, newStore) => {
  it("P1: a crash at any step is resumed to the same end, and no acknowledged stage runs again", async () => {
    let isThrough = false;
    for (let atStep = 1; !isThrough; atStep++) {
      for (const isDone of [false, true]) {
        const history = new History(3, newStore());
        const first = history.start({ atStep, isDone });
        const outcome = await first.outcome;
        isThrough = outcome !== "died";
        const begun = history.effects.length;
        const again = isThrough ? outcome : await history.start().outcome;
        expect(again).toEqual(history.stateAfter(3));
        expect(history.wrongInputs()).toEqual([]);
        // One stage at most was done and not acknowledged. A crash after the record was removed is a new run.
        const isNew = history.effects.slice(begun).length === 3 && begun === 3;
        const runs = history.effects.length - (isNew ? 3 : 0);
        expect(runs).toBeGreaterThanOrEqual(3);
        expect(runs).toBeLessThanOrEqual(4);
        expect(await history.store.read(id)).toBeUndefined();
      }
      expect(atStep).toBeLessThan(40);
    }
  });

  it("P1 P2: whatever processes die or stand still, one after the other or at once, the end is the same", async () => {
    const plan = fc.tuple(
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.record({ mishap, isAlone: fc.boolean() }), { maxLength: 4 }),
    );
    await fc.assert(
      fc.asyncProperty(plan, async ([stages, starts]) => {
        const history = new History(stages, newStore());
        const open: Promise<unknown>[] = [];
        for (const { mishap: theirs, isAlone } of starts) {
          const { outcome } = history.start(theirs);
          if (isAlone) await outcome;
          else open.push(outcome);
        }
        const failed = (await Promise.all(open)).filter((outcome) => isFabricError(outcome));
        expect(failed.filter(({ code }) => !overtaken.includes(code))).toEqual([]);
        expect(await history.start().outcome).toEqual(history.stateAfter(stages));
        expect(history.wrongInputs()).toEqual([]);
        expect(await history.store.read(id)).toBeUndefined();
      }),
      { numRuns: 60 },
    );
  });

  it("P2: a runner that stood still while another took over writes nothing, and says so", async () => {
    let takenOver = 0;
    // It goes on while the other one is at work, or after that one's end.
    const pauses = [1_800, 3_000].flatMap((pauseMs) => [
      { pauseMs, isDone: false },
      { pauseMs, isDone: true },
    ]);
    for (let atStep = 2; atStep <= 8; atStep++)
      for (const pause of pauses) {
        const history = new History(3, newStore(), 400);
        const slow = history.start({ atStep, ...pause });
        await history.time.wait(200);
        let ended: unknown;
        do ended = await history.start().outcome;
        while (isFabricError(ended) && ended.code === "CONFLICT");
        expect(ended).toEqual(history.stateAfter(3));
        const late = await slow.outcome;
        expect(history.wrongInputs()).toEqual([]);
        expect(await history.store.read(id)).toBeUndefined();
        const of = (isSlow: boolean): number[] =>
          history.effects
            .filter(({ process }) => (process === 1) === isSlow)
            .map(({ epoch }) => epoch);
        // One that was over before the other began, or whose very claim came after the other one's end, is a run of its
        // own. What a stale one did is told by its epoch, which every sink has seen a larger one of. The answer to a
        // write that stood still may come after the runner has given its lease up.
        const code = isFabricError(late) ? late.code : "complete";
        const isBelow = Math.max(0, ...of(true)) < Math.min(...of(false));
        const told = [code, code === "complete" ? of(true).length === 3 : isBelow];
        expect([
          ["complete", true],
          ["STALE_EPOCH", true],
          ["STORE_UNAVAILABLE", true],
        ]).toContainEqual(told);
        if (code === "STALE_EPOCH") takenOver++;
      }
    expect(takenOver).toBeGreaterThan(8);
  });
});

describe("damage", () => {
  // The newest record is damaged after a death at every step: what is left is the one before, one stage back at most.
  it("P3: a run goes on from the checkpoint before a damaged one, says so, and never from the start by itself", async () => {
    const seen = { recovered: 0, back: 0, refused: 0 };
    for (let atStep = 2; atStep <= 9; atStep++) {
      const store = new MemoryCheckpointStore();
      const spoiled: { revision?: number } = {};
      const history = new History(3, {
        read: async (key) => {
          const found = await store.read(key);
          if (found?.revision === spoiled.revision) found?.bytes.fill(0xee, 20);
          return found;
        },
        write: (key, bytes, expected) => store.write(key, bytes, expected),
        remove: (key, expected) => store.remove(key, expected),
      });
      expect(await history.start({ atStep, isDone: true }).outcome).toBe("died");
      const left = await store.read(id);
      if (left === undefined) continue;
      spoiled.revision = left.revision;
      const finished = decodeRun(left.bytes).header.finished;
      const before = left.previous && decodeRun(left.previous.bytes).header.finished;
      const begun = history.effects.length;
      const outcome = await history.start().outcome;
      const told = history.events[1]?.find(({ type }) => type === "recovered");
      const redone = history.effects.slice(begun).map(({ stage }) => stage);
      const isRefused = before === undefined;
      expect(isFabricError(outcome) ? outcome.code : outcome).toEqual(
        isRefused ? "CORRUPT_RECORD" : history.stateAfter(3),
      );
      expect(told?.type === "recovered" ? told.finished : undefined).toBe(before);
      expect(redone).toEqual(isRefused ? [] : [0, 1, 2].slice(before));
      seen[isRefused ? "refused" : "recovered"]++;
      if (before !== undefined && before < finished) seen.back++;
    }
    expect(seen).toEqual({ recovered: 5, back: 5, refused: 2 });
  });
});

describe("a claim", () => {
  it("P5: two live runners of one id: one runs, the other gets CONFLICT, and no stage runs twice", async () => {
    const history = new History(3, new MemoryCheckpointStore(), 2_500);
    const first = history.start();
    await history.time.wait(1);
    const second = history.start();
    expect(await second.outcome).toMatchObject({
      code: "CONFLICT",
      details: { pipelineId: id, because: "runner" },
    });
    expect(await first.outcome).toEqual(history.stateAfter(3));
    expect(history.effects.map(({ process }) => process)).toEqual([1, 1, 1]);
    expect(history.events[1]?.map((event) => event.type === "run" && event.newState)).toEqual([
      "waiting",
      "failed",
    ]);
  });

  it("P5: many runners at once: exactly one runs at any time", async () => {
    const history = new History(2, new MemoryCheckpointStore(), 1_500);
    const outcomes = await Promise.all(Array.from({ length: 6 }, () => history.start().outcome));
    expect(outcomes.filter((outcome) => !isFabricError(outcome))).toHaveLength(1);
    expect(history.effects).toHaveLength(2);
  });

  it("takes over from a dead runner once its lease has lapsed, not sooner, and says so", async () => {
    const history = new History(2, new MemoryCheckpointStore());
    expect(await history.start({ atStep: 4, isDone: true }).outcome).toBe("died");
    const diedAtMs = history.time.nowMs();
    expect(await history.start().outcome).toEqual(history.stateAfter(2));
    expect(history.time.nowMs() - diedAtMs).toBeGreaterThanOrEqual(1_100);
    expect(history.time.nowMs() - diedAtMs).toBeLessThan(1_400);
    expect(history.events[1]).toContainEqual(
      expect.objectContaining({ type: "takenOver", finished: 1 }),
    );
  });

  it("does not wait for a runner that failed by itself: it has let go", async () => {
    const history = new History(2, new MemoryCheckpointStore());
    const process = new StagedProcess(history.time, history.store, 99);
    let isBroken = true;
    const pipeline = new StagedPipeline({ checkpointStore: process.store }, process.ports)
      .stage("a", () => 1)
      .stage("b", { retries: 0 }, () => {
        if (isBroken) throw new Error("broken");
        return 2;
      });
    await expect(pipeline.run(0, { pipelineId: id })).rejects.toThrow("broken");
    const record = await history.store.read(id);
    expect(decodeRun(record?.bytes as Uint8Array).header).toMatchObject({
      runner: null,
      finished: 1,
    });
    const failedAtMs = history.time.nowMs();
    isBroken = false;
    expect(await pipeline.run(0, { pipelineId: id })).toBe(2);
    expect(history.time.nowMs()).toBe(failedAtMs);
  });
});
