/** One run of stages. */
import {
  FabricError,
  invalidArgument,
  isFabricError,
  sha256,
  type AbortSignalLike,
  type Codec,
} from "@selvage/fabric";
import { retryDelayMs } from "@selvage/leasekit";
import type { ClaimedRun } from "./run-admission.ts";
import { Halt } from "./halt.ts";
import type { RunClaim } from "./run-claim.ts";
import { runAttempt, type AttemptEnd } from "./stage-attempt.ts";
import type { RunState, StageMark, StatePlace, StateRef } from "./staged-checkpoint.ts";
import type { StagedEvent, StagedRunState, StageState } from "./staged-events.ts";
import type { Stage, StageContext, StagedPorts, StagedRunOptions } from "./staged-options.ts";
import type { StateShelf } from "./state-shelf.ts";

/** What a run is made of. */
export interface RunParts {
  readonly stages: readonly Stage[];
  readonly options: StagedRunOptions;
  readonly ports: StagedPorts;
  readonly codec: Codec<unknown>;
  readonly graceMs: number;
  /** Where the run is kept; undefined: nowhere. */
  readonly keeping: RunKeeping | undefined;
}

/** Where a run is kept. */
export interface RunKeeping {
  /** Claims the run of these stages and this payload. */
  claim(
    payload: string,
    halt: Halt,
    hooks: { readonly onWait: () => void; readonly onBeat: () => void },
  ): Promise<ClaimedRun>;
  readonly shelf: StateShelf | undefined;
}

/** What blocks may say of a state that is gone for good; anything else is an outage, and no reason to fall back. */
const lostCodes: ReadonlySet<string> = new Set([
  "LEASE_EXPIRED",
  "REVOKED",
  "FENCED",
  "NOT_FOUND",
  "UNSUPPORTED",
  "CORRUPT_RECORD",
]);

const nothing = new Uint8Array(0);

/** A run, from its payload to what the last stage makes. */
export class StagedRun {
  readonly #parts: RunParts;
  readonly #halt = new Halt();
  readonly #states: StageState[];
  #state: StagedRunState = "idle";
  #attemptNow = 0;
  // True once the watcher has thrown.
  #isDeaf = false;
  #claim: RunClaim | undefined;
  // The checkpoint that is kept, with its state: the next one's `earlier`.
  #mark: StageMark & { readonly inline: Uint8Array } = start;

  constructor(parts: RunParts) {
    this.#parts = parts;
    this.#states = parts.stages.map(() => "pending");
  }

  /** Runs. Errors as `StagedPipeline.run`. */
  async run(payload: unknown): Promise<unknown> {
    const stopListening = this.#listen(this.#parts.options.signal);
    try {
      this.#halt.check();
      const result = await this.#go(payload);
      // All stages have ended: from here on it is too late to cancel, or they would be run again.
      stopListening();
      await this.#clear();
      this.#become("succeeded");
      // A watcher that threw at the very last.
      if (this.#isDeaf) this.#halt.check();
      return result;
    } catch (error) {
      await this.#leave();
      this.#end(error);
      throw error;
    } finally {
      this.#claim?.stop();
      stopListening();
    }
  }

  async #go(payload: unknown): Promise<unknown> {
    const { stages, keeping } = this.#parts;
    const from =
      keeping === undefined
        ? { finished: 0, state: payload }
        : await this.#resume(payload, keeping);
    this.#become("running");
    for (let index = 0; index < from.finished; index++) this.#move(index, "restored", 0);
    let { state } = from;
    for (const [index, stage] of stages.entries()) {
      if (index < from.finished) continue;
      state = await this.#runStage(index, stage, state);
    }
    this.#halt.check();
    return state;
  }

  async #clear(): Promise<void> {
    if (this.#claim === undefined) return;
    await this.#halt.race(this.#claim.clear());
    this.#claim = undefined;
    this.#parts.keeping?.shelf?.release();
  }

  async #resume(
    payload: unknown,
    keeping: RunKeeping,
  ): Promise<{ finished: number; state: unknown }> {
    const bytes = payload === undefined ? undefined : this.#parts.codec.encode(payload);
    const { clock } = this.#parts.ports;
    const claimed = await keeping.claim(bytes === undefined ? "none" : sha256(bytes), this.#halt, {
      onWait: () => this.#become("waiting"),
      onBeat: () => void keeping.shelf?.keep(clock.nowMs()),
    });
    this.#claim = claimed.claim;
    const { state: stored, mark, isFallback } = await this.#load(claimed, bytes, keeping.shelf);
    this.#mark = { ...mark, inline: stored ?? nothing };
    const told = (type: "recovered" | "takenOver" | "restarted"): void =>
      this.#tell({ type, finished: mark.finished, atMs: clock.nowMs() });
    if (claimed.isTakenOver) told("takenOver");
    if (claimed.isRestarted) told("restarted");
    if (claimed.isRecovered || isFallback) told("recovered");
    // Decoded also where it was never away: a stage sees what it would see after a resume.
    const state = stored === undefined ? undefined : this.#parts.codec.decode(stored);
    return { finished: mark.finished, state };
  }

  // The newest state that can be read: of the record, of what its record names as earlier, of the record before.
  async #load(
    { found, before }: ClaimedRun,
    payload: Uint8Array | undefined,
    shelf: StateShelf | undefined,
  ): Promise<{ state: Uint8Array | undefined; mark: StageMark; isFallback: boolean }> {
    let lost: unknown;
    const marks = [...candidates(found, before)];
    for (const { mark, inline } of marks) {
      try {
        const state = await this.#halt.race(read(mark.place, inline, payload, shelf));
        for (const ref of marks.flatMap((other) => refsOf(other.mark)))
          await this.#halt.race(shelf?.adopt(ref) ?? Promise.resolve());
        return { state, mark, isFallback: lost !== undefined };
      } catch (error) {
        if (this.#halt.isHalted || !isFabricError(error) || !lostCodes.has(error.code)) throw error;
        lost ??= error;
      }
    }
    throw lost;
  }

  async #runStage(index: number, stage: Stage, input: unknown): Promise<unknown> {
    for (let attempt = 1; ; attempt++) {
      await this.#halt.race(this.#claim?.assure() ?? Promise.resolve());
      this.#move(index, "running", attempt);
      const ended = await this.#attempt(stage, input, attempt);
      if (ended.kind === "halted") throw this.#halt.reason;
      if (ended.kind === "returned") {
        const state = await this.#save(index, stage, ended.value, attempt);
        this.#move(index, "succeeded", attempt);
        return state;
      }
      const error =
        ended.kind === "threw" ? ended.error : timedOut(stage, attempt, ended.isSettled);
      // A body that does not stop would run beside its next attempt.
      const mayRetry = ended.kind === "threw" || ended.isSettled;
      const waitMs = mayRetry ? retryDelayMs(stage.policy, attempt, error, 0) : undefined;
      if (waitMs === undefined) {
        this.#move(index, "failed", attempt, error);
        throw error;
      }
      this.#move(index, "waiting", attempt, error);
      await this.#wait(waitMs);
    }
  }

  async #attempt(stage: Stage, input: unknown, attempt: number): Promise<AttemptEnd> {
    const { ports, graceMs, options } = this.#parts;
    const abort = ports.abortSource();
    let isOpen = true;
    const context: StageContext = {
      name: stage.name,
      attempt,
      epoch: this.#claim?.epoch ?? 0,
      pipelineId: options.pipelineId,
      signal: abort.signal,
      progress: (fraction) => {
        if (fraction !== undefined && !(fraction >= 0 && fraction <= 1))
          throw invalidArgument("fraction", "a number from 0 to 1", fraction);
        if (!isOpen) return;
        const atMs = ports.clock.nowMs();
        this.#tell({ type: "progress", name: stage.name, attempt, fraction, atMs });
      },
    };
    const { timeoutMs } = stage;
    const reason = timedOut(stage, attempt, true);
    const terms = { ...ports, abort, halt: this.#halt, timeoutMs, graceMs, timedOut: reason };
    const ended = await runAttempt(() => stage.handler(input, context), terms);
    isOpen = false;
    return ended;
  }

  // Resolves with the state as the next stage sees it.
  async #save(index: number, { name }: Stage, value: unknown, attempt: number): Promise<unknown> {
    const claim = this.#claim;
    if (claim === undefined) return value;
    const { codec, ports, keeping } = this.#parts;
    const shelf = keeping?.shelf;
    try {
      const bytes = value === undefined ? undefined : codec.encode(value);
      const isLarge = shelf !== undefined && bytes !== undefined && bytes.length > shelf.overBytes;
      const place: StatePlace = isLarge
        ? { kind: "blocks", ref: await this.#halt.race(shelf.put(bytes)) }
        : { kind: bytes === undefined ? "none" : "inline" };
      const mark = { finished: index + 1, place };
      const inline = place.kind === "inline" ? (bytes as Uint8Array) : nothing;
      const { inline: earlierInline, ...earlier } = this.#mark;
      const saving = isLarge
        ? claim.save(
            { ...mark, earlier },
            earlier.place.kind === "inline" ? earlierInline : nothing,
          )
        : claim.save(mark, inline);
      const revision = await this.#halt.race(saving);
      shelf?.release([...refsOf(mark), ...refsOf(earlier)]);
      this.#mark = { ...mark, inline };
      this.#tell({
        type: "checkpoint",
        name,
        revision,
        bytes: bytes?.length ?? 0,
        place: place.kind as "none" | "inline" | "blocks",
        atMs: ports.clock.nowMs(),
      });
      return bytes === undefined ? undefined : codec.decode(bytes);
    } catch (error) {
      if (!this.#halt.isHalted) this.#move(index, "failed", attempt, error);
      throw error;
    }
  }

  async #wait(delayMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#parts.ports.timer.after(delayMs, resolve);
    await this.#halt.race(promise).finally(cancel);
  }

  // Lets the run go for the next one, if the store answers soon; else it is free when its lease has lapsed.
  async #leave(): Promise<void> {
    const { ports, graceMs } = this.#parts;
    const claim = this.#claim;
    if (claim === undefined) return;
    const { promise: graceOver, resolve } = Promise.withResolvers<void>();
    const cancel = ports.timer.after(graceMs, resolve);
    await Promise.race([claim.release().catch(() => {}), graceOver]);
    cancel();
  }

  #listen(signal: AbortSignalLike | undefined): () => void {
    if (signal === undefined) return () => {};
    const listener = (): void => this.#halt.halt(signal.reason);
    if (signal.aborted) listener();
    else signal.addEventListener("abort", listener);
    return () => signal.removeEventListener("abort", listener);
  }

  #end(error: unknown): void {
    const { signal } = this.#parts.options;
    const isCancelled = signal?.aborted === true && this.#halt.reason === signal.reason;
    for (const [index, state] of this.#states.entries())
      if (state === "running" || state === "waiting")
        this.#move(index, isCancelled ? "cancelled" : "failed", this.#attemptNow, error);
    this.#become(isCancelled ? "cancelled" : "failed", error);
  }

  #become(newState: StagedRunState, error?: unknown): void {
    const oldState = this.#state;
    if (oldState === newState) return;
    this.#state = newState;
    const told = error === undefined ? {} : { error };
    const atMs = this.#parts.ports.clock.nowMs();
    this.#tell({ type: "run", oldState, newState, ...told, atMs });
  }

  #move(index: number, newState: StageState, attempt: number, error?: unknown): void {
    const oldState = this.#states[index] as StageState;
    this.#states[index] = newState;
    this.#attemptNow = attempt;
    const { name } = this.#parts.stages[index] as Stage;
    const told = error === undefined ? {} : { error };
    const atMs = this.#parts.ports.clock.nowMs();
    this.#tell({ type: "stage", name, oldState, newState, attempt, ...told, atMs });
  }

  // A watcher that throws is told nothing more, and ends the run.
  #tell(event: StagedEvent): void {
    if (this.#isDeaf) return;
    try {
      this.#parts.options.onEvent?.(event);
    } catch (error) {
      this.#isDeaf = true;
      this.#halt.halt(error);
    }
  }
}

const start: StageMark & { readonly inline: Uint8Array } = {
  finished: 0,
  place: { kind: "payload" },
  inline: nothing,
};

function timedOut(
  { name, timeoutMs = 0 }: Stage,
  attempt: number,
  isSettled: boolean,
): FabricError {
  const what = `Stage "${name}" took longer than ${timeoutMs} ms`;
  const details = { stage: name, attempt, timeoutMs, isOverrunning: !isSettled };
  return new FabricError("TIMED_OUT", what, details);
}

function refsOf({ place }: StageMark): readonly StateRef[] {
  return place.kind === "blocks" ? [place.ref] : [];
}

function* candidates(
  found: RunState | undefined,
  before: RunState | undefined,
): Generator<{ mark: StageMark; inline: Uint8Array }> {
  if (found === undefined) return yield { mark: start, inline: nothing };
  const { header, inline } = found;
  yield { mark: { finished: header.finished, place: header.place }, inline };
  if (header.earlier !== undefined) yield { mark: header.earlier, inline };
  // Of a run that it replaced, or of this one at the same stage: no help.
  if (before === undefined || before.header.finished >= header.finished) return;
  if (before.header.payload !== header.payload || before.header.finished === 0) return;
  if (JSON.stringify(before.header.stages) !== JSON.stringify(header.stages)) return;
  const { finished, place } = before.header;
  yield { mark: { finished, place }, inline: before.inline };
}

async function read(
  place: StatePlace,
  inline: Uint8Array,
  payload: Uint8Array | undefined,
  shelf: StateShelf | undefined,
): Promise<Uint8Array | undefined> {
  if (place.kind === "payload") return payload;
  if (place.kind === "none") return undefined;
  if (place.kind === "inline") return inline;
  if (shelf !== undefined) return shelf.get(place.ref);
  throw new FabricError(
    "UNSUPPORTED",
    "Cannot resume: the state is in blocks, and there is no largeStates",
    {
      leaseId: place.ref.ticket.leaseId,
    },
  );
}
