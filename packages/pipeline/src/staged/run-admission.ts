/**
 * Taking the right to run an id: from nobody, from a runner that let go, or from one that has gone silent.
 *
 * Invariant P3: a record that cannot be read gives way to the one before it, and that is told. When neither can be read, the
 * run fails; it does not begin anew.
 */
import { FabricError, isFabricError } from "@selvage/fabric";
import type { CheckpointReading } from "./checkpoint-store.ts";
import type { Halt } from "./halt.ts";
import { asked, RunClaim, silenceMs, type ClaimTerms } from "./run-claim.ts";
import { decodeRun, encodeRun, type RunHeader, type RunState } from "./staged-checkpoint.ts";

/** What the run is to be. */
export interface ClaimWish {
  /** Drawn for this runner. */
  readonly runner: string;
  readonly leaseMs: number;
  /** To what the run is bound; undefined: to whatever is found. */
  readonly binding: Pick<RunHeader, "stages" | "payload"> | undefined;
  /** Whether a run that is bound to something else is replaced. */
  readonly restarts: boolean;
}

/** A run that was claimed, and what was found. */
export interface ClaimedRun {
  readonly claim: RunClaim;
  /** The checkpoint to go on from; undefined: from the start. */
  readonly found: RunState | undefined;
  /** The record before it, where that could be read and is of this run. */
  readonly before: RunState | undefined;
  readonly isRecovered: boolean;
  readonly isTakenOver: boolean;
  readonly isRestarted: boolean;
}

interface Opened {
  readonly state: RunState;
  readonly before: RunState | undefined;
  readonly isRecovered: boolean;
}

const nothing = new Uint8Array(0);
/** How often others may be first before this runner gives up. */
const roundsMax = 64;

/**
 * Claims the run. A runner that may still live is watched: `onWait` is called when that begins.
 * @throws FabricError `CONFLICT` (another runs it; or the stages or the payload have changed), `STORE_UNAVAILABLE`,
 * `CORRUPT_RECORD`; what it was halted with.
 */
export async function claimRun(
  wish: ClaimWish,
  terms: ClaimTerms,
  halt: Halt,
  onWait: () => void,
): Promise<ClaimedRun> {
  const { store, key } = terms;
  let isTakenOver = false;
  for (let round = 1; round <= roundsMax; round++) {
    const reading = await halt.race(asked(store.read(key)));
    const opened = reading === undefined ? undefined : open(reading);
    const isOther = opened !== undefined && isOtherRun(opened.state.header, wish);
    if (isOther && !wish.restarts) throw changed(key, opened.state.header, wish);
    if (reading !== undefined && typeof opened?.state.header.runner === "string") {
      onWait();
      const { ttlMs } = opened.state.header;
      if (!(await isSilent(reading, ttlMs, terms, halt))) continue;
      isTakenOver = true;
    }
    const found = isOther ? undefined : opened;
    const state = claimed(wish, found?.state);
    const sentAtMs = terms.clock.nowMs();
    const bytes = encodeRun(state);
    const revision = await halt.race(asked(store.write(key, bytes, reading?.revision ?? 0)));
    if (revision === undefined) continue;
    return {
      claim: new RunClaim(terms, state, revision, sentAtMs),
      found: found !== undefined && found.state.header.finished > 0 ? found.state : undefined,
      before: found?.before,
      isRecovered: opened?.isRecovered === true,
      isTakenOver,
      isRestarted: isOther,
    };
  }
  throw busy(key);
}

// One that has ended no stage is bound to nothing yet.
function isOtherRun({ finished, stages, payload }: RunHeader, { binding }: ClaimWish): boolean {
  if (finished === 0 || binding === undefined) return false;
  return payload !== binding.payload || !areEqual(stages, binding.stages);
}

function claimed({ runner, leaseMs, binding }: ClaimWish, found: RunState | undefined): RunState {
  const old = found?.header;
  const fresh = { finished: 0, place: { kind: "payload" }, stages: [], payload: "" } as const;
  const header: RunHeader = {
    ...(old === undefined || old.finished === 0 ? fresh : old),
    ...binding,
    runner,
    ttlMs: leaseMs,
    epoch: 0,
    beat: 0,
  };
  return { header, inline: found?.inline ?? nothing };
}

function open(reading: CheckpointReading): Opened {
  const { previous } = reading;
  const before = previous === undefined ? undefined : attempt(previous.bytes);
  const newest = attempt(reading.bytes);
  if (newest instanceof Error) {
    if (before === undefined || before instanceof Error) throw newest;
    return { state: before, before: undefined, isRecovered: true };
  }
  const isUsable = !(before === undefined || before instanceof Error);
  const isRecovered = reading.isRecovered === true;
  return { state: newest, before: isUsable ? before : undefined, isRecovered };
}

function attempt(bytes: Uint8Array): RunState | Error {
  try {
    return decodeRun(bytes);
  } catch (error) {
    if (isFabricError(error)) return error;
    throw error;
  }
}

// Looks at the record until its runner has written, or could have for long enough. Time is counted in waits, each as
// long as it says or longer: a clock that jumps ends none.
async function isSilent(
  { revision }: CheckpointReading,
  ttlMs: number,
  { store, key, timer }: ClaimTerms,
  halt: Halt,
): Promise<boolean> {
  const periodMs = Math.max(1, ttlMs / 10);
  for (let waitedMs = 0; waitedMs < silenceMs(ttlMs); waitedMs += periodMs) {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = timer.after(periodMs, resolve);
    await halt.race(promise).finally(cancel);
    const reading = await halt.race(asked(store.read(key)));
    if (reading?.revision === revision) continue;
    // It has ended, or let go: then the id is free.
    if (reading === undefined || open(reading).state.header.runner === null) return false;
    throw busy(key);
  }
  return true;
}

function busy(pipelineId: string): FabricError {
  return new FabricError("CONFLICT", `Cannot run "${pipelineId}": another runner is at it`, {
    pipelineId,
    because: "runner",
  });
}

function changed(pipelineId: string, found: RunHeader, { binding }: ClaimWish): FabricError {
  const because = areEqual(found.stages, binding?.stages ?? []) ? "payload" : "stages";
  const what = because === "stages" ? "stages are" : "payload is";
  return new FabricError(
    "CONFLICT",
    `Cannot resume "${pipelineId}": its ${what} not what the checkpoint was made with`,
    { pipelineId, because, finished: found.finished, stages: found.stages },
  );
}

function areEqual(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, at) => name === b[at]);
}
