/**
 * Stages in a row, of which those that have ended are not run again after a failure.
 *
 * Invariant P1: a stage's state, and that the stage has ended, are one record, replaced in one step: after a crash
 * anywhere a run goes on from the last stage that was acknowledged.
 * Invariants P2, P3 and P5: see `run-claim.ts` and `run-admission.ts`.
 */
import { FabricError, invalidArgument, jsonCodec } from "@selvage/fabric";
import { claimRun, type ClaimedRun, type ClaimWish } from "./run-admission.ts";
import { Halt } from "./halt.ts";
import { asked, type ClaimTerms } from "./run-claim.ts";
import { StagedRun, type RunKeeping } from "./staged-run.ts";
import {
  checkOptions,
  checkPipelineId,
  checkRun,
  resolveStage,
  type Stage,
  type StagedOptions,
  type StagedPorts,
  type StagedRunOptions,
  type StageHandler,
  type StageOptions,
} from "./staged-options.ts";
import { StateShelf } from "./state-shelf.ts";

const leaseMsDefault = 5_000;
const graceMsDefault = 1_000;

/**
 * A row of stages. Each makes a state of the one before; the first one gets the payload.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { MemoryCheckpointStore, StagedPipeline } from "selvage";
 *
 * let isDown = true;
 * const ran: string[] = [];
 * const pipeline = new StagedPipeline<string>({ checkpointStore: new MemoryCheckpointStore() })
 *   .stage("extract", (file) => (ran.push("extract"), `rows of ${file}`))
 *   .stage("load", { retries: 0 }, (rows) => {
 *     if (isDown) throw new Error("no database");
 *     return `${rows}, loaded`;
 *   });
 *
 * await assert.rejects(pipeline.run("a.csv", { pipelineId: "nightly" }), /no database/);
 * isDown = false;
 * assert.equal(await pipeline.run("a.csv", { pipelineId: "nightly" }), "rows of a.csv, loaded");
 * assert.deepEqual(ran, ["extract"]);
 * ```
 */
export class StagedPipeline<In = unknown, Out = In> {
  readonly #options: StagedOptions;
  readonly #ports: StagedPorts;
  readonly #stages: Stage[] = [];
  // Ids that run here: known at once, without a look at the store.
  readonly #running = new Set<string>();

  /** @throws FabricError `INVALID_ARGUMENT`. */
  constructor(options: StagedOptions, ports: StagedPorts) {
    checkOptions(options);
    if (options.largeStates !== undefined) void new StateShelf(options.largeStates);
    this.#options = options;
    this.#ports = ports;
  }

  /** The stages' names, in order. */
  get stages(): readonly string[] {
    return this.#stages.map(({ name }) => name);
  }

  /**
   * Adds a stage, and returns the same pipeline, which now ends in what the handler makes. Runs that are under way have
   * the stages of their start. @throws FabricError `INVALID_ARGUMENT`, `CONFLICT` (the name is taken).
   */
  stage<Next>(name: string, handler: StageHandler<Out, Next>): StagedPipeline<In, Next>;
  stage<Next>(
    name: string,
    options: StageOptions,
    handler: StageHandler<Out, Next>,
  ): StagedPipeline<In, Next>;
  stage<Next>(
    name: string,
    ...rest:
      | readonly [handler: StageHandler<Out, Next>]
      | readonly [options: StageOptions, handler: StageHandler<Out, Next>]
  ): StagedPipeline<In, Next> {
    const [options, handler] = rest.length === 1 ? [{}, rest[0]] : rest;
    const stage = resolveStage(name, options, handler);
    if (this.#stages.some((other) => other.name === name))
      throw new FabricError("CONFLICT", `Cannot add a second stage "${name}"`, { stage: name });
    this.#stages.push(stage);
    return this as unknown as StagedPipeline<In, Next>;
  }

  /**
   * Runs the stages, and resolves with what the last one made. With a `pipelineId`, each stage's state is kept when it
   * ends, and a run of that id that failed, or whose process died, is resumed behind the last stage that ended; when all have
   * ended, nothing is left. States then reach the next stage as the codec gives them back, resumed or not.
   * @throws what the stage threw in its last attempt; the signal's reason; what `onEvent` threw. FabricError `CONFLICT` (another
   * runs this id; or the stages or the payload have changed), `TIMED_OUT`, `STORE_UNAVAILABLE` (the store failed: the
   * run does not begin anew), `STALE_EPOCH` (another took the run over), `CORRUPT_RECORD`, `LEASE_EXPIRED` (a large
   * state is gone), `ENCODE`, `DECODE`, `CAPACITY_EXCEEDED`, `INVALID_ARGUMENT`.
   */
  async run(payload: In, options: StagedRunOptions = {}): Promise<Out> {
    checkRun(options, this.#options.checkpointStore !== undefined);
    if (this.#stages.length === 0) throw invalidArgument("stages", "at least one stage", "none");
    const { pipelineId } = options;
    const stages = [...this.#stages];
    const run = (keeping: RunKeeping | undefined): Promise<unknown> =>
      new StagedRun({
        stages,
        options,
        ports: this.#ports,
        codec: this.#options.codec ?? jsonCodec<unknown>(),
        graceMs: this.#options.graceMs ?? graceMsDefault,
        keeping,
      }).run(payload);
    if (pipelineId === undefined) return (await run(undefined)) as Out;
    return this.#alone(pipelineId, async () => {
      const names = stages.map(({ name }) => name);
      return (await run(this.#keeping(pipelineId, names, options.onMismatch === "restart"))) as Out;
    });
  }

  /**
   * Removes what is kept under an id, so that its next run begins anew, also where what is kept cannot be read. Resolves
   * with whether there was anything. A runner that may still live is waited for, up to its lease.
   * @throws FabricError `CONFLICT` (a runner is at it), `STORE_UNAVAILABLE`, `CORRUPT_RECORD` (the store itself cannot read it),
   * `INVALID_ARGUMENT`.
   */
  async clear(pipelineId: string): Promise<boolean> {
    checkPipelineId(pipelineId);
    const store = this.#options.checkpointStore;
    if (store === undefined)
      throw invalidArgument("checkpointStore", "a CheckpointStore", undefined);
    return this.#alone(pipelineId, async () => {
      const reading = await asked(store.read(pipelineId));
      if (reading === undefined) return false;
      try {
        const { claim } = await this.#claim(pipelineId, { binding: undefined, restarts: false });
        await claim.clear();
        return true;
      } catch (error) {
        // Whoever wrote that has no right that could still be read.
        if ((error as { code?: unknown }).code !== "CORRUPT_RECORD") throw error;
        return asked(store.remove(pipelineId, reading.revision));
      }
    });
  }

  async #alone<T>(pipelineId: string, work: () => Promise<T>): Promise<T> {
    if (this.#running.has(pipelineId))
      throw new FabricError("CONFLICT", `Cannot run "${pipelineId}": another runner is at it`, {
        pipelineId,
        because: "runner",
      });
    this.#running.add(pipelineId);
    try {
      return await work();
    } finally {
      this.#running.delete(pipelineId);
    }
  }

  #keeping(pipelineId: string, stages: readonly string[], restarts: boolean): RunKeeping {
    const { largeStates } = this.#options;
    return {
      shelf: largeStates === undefined ? undefined : new StateShelf(largeStates),
      claim: (payload, halt, hooks) =>
        this.#claim(pipelineId, { binding: { stages, payload }, restarts }, halt, hooks),
    };
  }

  #claim(
    pipelineId: string,
    wish: Pick<ClaimWish, "binding" | "restarts">,
    halt: Halt = new Halt(),
    hooks: Partial<Parameters<RunKeeping["claim"]>[2]> = {},
  ): Promise<ClaimedRun> {
    const { checkpointStore, leaseMs = leaseMsDefault } = this.#options;
    const words = new Int32Array(4);
    this.#ports.random.fill(words);
    const runner = Array.from(words, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
    const terms: ClaimTerms = {
      // Runs without a store have no id.
      store: checkpointStore as NonNullable<typeof checkpointStore>,
      key: pipelineId,
      clock: this.#ports.clock,
      timer: this.#ports.timer,
      onBeat: hooks.onBeat ?? ((): void => {}),
      onLost: (error) => halt.halt(error),
    };
    return claimRun({ ...wish, runner, leaseMs }, terms, halt, hooks.onWait ?? ((): void => {}));
  }
}
