/** What a run is told, and what it needs of its host. */
import {
  checkTtl,
  describe,
  FabricError,
  invalidArgument,
  resolveBudget,
  type AbortSignalLike,
  type DecodeBudget,
  type Fabric,
  type Random,
  type Timer,
} from "@selvage/fabric";
import { STALL_MS_DEFAULT, type RenewalManager, type TaskRunner } from "@selvage/leasekit";
import type { CodecPorts } from "./data-codecs.ts";
import type { ExecutionEvent } from "./run-events.ts";
import type { LeasedInputs } from "./leased-inputs.ts";

/** `"expiry"`: intermediate leases end at their TTL. `"eager"`: they are released when the last consumer ends. */
export type Teardown = "expiry" | "eager";

/** Options of `Executor.run`. */
export interface ExecutorOptions {
  /** Where outputs are leased. Default: a fabric of the run's own, closed at its end. */
  readonly fabric?: Fabric;
  /** What keeps the leases of the run. Default: a manager of the run's own. False: nothing does. */
  readonly renewals?: RenewalManager | false;
  /** TTL of every output's lease, in milliseconds. Default 2,000. */
  readonly ttlMs?: number;
  readonly teardown?: Teardown;
  /** How long a holder may be silent before its leases are no longer renewed, in milliseconds. Default 30,000. */
  readonly stallMs?: number;
  /** Cancels the run: running attempts are told, and given up after `graceMs`. */
  readonly signal?: AbortSignalLike;
  /** How long a cancelled attempt may take to end, in milliseconds. Default 1,000. */
  readonly graceMs?: number;
  /** Called with every event, synchronously. What it throws ends the run. */
  readonly onEvent?: (event: ExecutionEvent) => void;
  /** Outputs that outlive the run: see `ExecutionResult.keep`. Only with a `fabric`. */
  readonly keep?: readonly string[];
  /** Leases for the plan's own inputs (`TaskGraph.addInput`), kept while a task may read them. Only with a `fabric`. */
  readonly inputs?: LeasedInputs;
  /** What decoding one input (json, msgpack) may cost, and so what encoding one output may. Default: `DECODE_BUDGET`. */
  readonly budget?: DecodeBudget;
  /** How tasks are started. Only `"waves"` is here. */
  readonly schedule?: "waves";
  /** Whether outputs beyond the memory spill to blocks. Only false is here. */
  readonly spill?: false;
}

/** {@link ExecutorOptions} that have defaults. */
export interface ResolvedExecution {
  readonly ttlMs: number;
  readonly teardown: Teardown;
  readonly stallMs: number;
  readonly graceMs: number;
}

/** The defaults of {@link ExecutorOptions}. */
export const EXECUTION_DEFAULTS: ResolvedExecution = Object.freeze({
  ttlMs: 2_000,
  teardown: "expiry",
  stallMs: STALL_MS_DEFAULT,
  graceMs: 1_000,
});

/** The part of the platform's `AbortController` that a run uses. */
export interface AbortSource {
  readonly signal: AbortSignalLike;
  abort(reason?: unknown): void;
}

/** The host, as an executor needs it. */
export interface ExecutorPorts {
  readonly timer: Timer;
  readonly random: Random;
  /** A new `AbortController`. */
  abortSource(): AbortSource;
  /** Opens the run's own fabric. */
  openFabric(): Fabric;
  /** Codecs of the host. Default: JSON only. */
  readonly codecs?: CodecPorts;
  /** Starts threads for tasks whose body is a module; called when the first one starts. */
  openRunner(): TaskRunner;
}

/** The longest time that hosts' timers can wait, in milliseconds: 24 days. */
const timerMsMax = 2 ** 31 - 1;

const known: readonly string[] = [
  "fabric",
  "renewals",
  "ttlMs",
  "teardown",
  "stallMs",
  "signal",
  "graceMs",
  "onEvent",
  "keep",
  "inputs",
  "budget",
  "schedule",
  "spill",
];

function checkShape(options: ExecutorOptions): void {
  if (typeof options !== "object" || options === null)
    throw invalidArgument("options", "an object", options);
  for (const name of Object.keys(options))
    if (!known.includes(name)) throw invalidArgument("options", `one of ${known.join(", ")}`, name);
  const { fabric, renewals, signal, onEvent, schedule, spill, keep } = options;
  if (fabric !== undefined && typeof fabric?.mem !== "function")
    throw invalidArgument("fabric", "a Fabric", fabric);
  if (renewals !== undefined && renewals !== false && typeof renewals?.hold !== "function")
    throw invalidArgument("renewals", "a RenewalManager, or false", renewals);
  if (signal !== undefined && typeof signal?.addEventListener !== "function")
    throw invalidArgument("signal", "an AbortSignal", signal);
  if (onEvent !== undefined && typeof onEvent !== "function")
    throw invalidArgument("onEvent", "a function", onEvent);
  resolveBudget(options.budget);
  if (keep !== undefined && (!Array.isArray(keep) || (keep.length > 0 && fabric === undefined)))
    throw invalidArgument("keep", "names of outputs, and a fabric that outlives the run", keep);
  if (schedule !== undefined && schedule !== "waves")
    throw new FabricError(
      "UNSUPPORTED",
      `schedule: only "waves" is here, got ${describe(schedule)}`,
    );
  if ((spill as boolean | undefined) === true)
    throw new FabricError("UNSUPPORTED", "spill: outputs cannot be spilled to blocks yet");
}

/** Fills in the defaults and checks. @throws FabricError `INVALID_ARGUMENT`. */
export function resolveExecution(options: ExecutorOptions): ResolvedExecution {
  checkShape(options);
  // An option given as undefined means its default, as an absent one does.
  const {
    ttlMs = EXECUTION_DEFAULTS.ttlMs,
    teardown = EXECUTION_DEFAULTS.teardown,
    stallMs = EXECUTION_DEFAULTS.stallMs,
    graceMs = EXECUTION_DEFAULTS.graceMs,
  } = options;
  if (typeof stallMs !== "number" || !(stallMs > 0))
    throw invalidArgument("stallMs", "milliseconds above 0", stallMs);
  if (typeof graceMs !== "number" || !(graceMs >= 0 && graceMs <= timerMsMax))
    throw invalidArgument("graceMs", `milliseconds from 0 to ${timerMsMax}`, graceMs);
  if (teardown !== "expiry" && teardown !== "eager")
    throw invalidArgument("teardown", '"expiry" or "eager"', teardown);
  return { ttlMs: checkTtl("ttlMs", ttlMs), teardown, stallMs, graceMs };
}
