/** What came of a run: figures, and for a failure all that is needed to see it again. */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FabricError } from "@selvage/fabric";
import { Violation } from "./check.ts";
import type { FaultPlan } from "./faults.ts";
import type { Kernel } from "./kernel.ts";
import { parsePlan } from "./parse-plan.ts";
import type { Scenario } from "./simulate.ts";
import { sequenceDiagram, tellOccurrence } from "./story.ts";
import type { Counters } from "./sometimes.ts";
import type { Arrival, Occurrence } from "./trace.ts";

/** Where failures are kept, unless told otherwise. */
export const FAILURES_FOLDER = ".selvage/failures";

/** Occurrences that a report shows of each node. */
const shownOfEach = 50;

/** A failure, as it is kept: enough to run it again. */
export interface KeptFailure {
  readonly scenario: string;
  readonly property: string;
  readonly message: string;
  readonly seed: string;
  readonly plan: FaultPlan;
  readonly traceHash: string;
  readonly node: string;
  /** The last of what happened, by node. */
  readonly last: Readonly<Record<string, readonly string[]>>;
  /** Mermaid. */
  readonly diagram: string;
}

interface Parts {
  readonly options: Scenario;
  readonly seed: string;
  readonly plan: FaultPlan;
  readonly unstruck: FaultPlan;
  readonly kernel: Kernel;
  readonly counters: Counters;
  readonly violation: Error | undefined;
  readonly tookMs: number;
}

/** A run that violated something. */
export class SimulationFailure extends Error {
  readonly property: string;
  readonly report: SimReport;

  constructor(report: SimReport, message: string, options: ErrorOptions) {
    super(message, options);
    this.name = "SimulationFailure";
    this.property = report.property ?? "";
    this.report = report;
  }
}

/** The outcome of one run. */
export class SimReport {
  readonly scenario: string;
  readonly seed: string;
  readonly plan: FaultPlan;
  /** Faults of the plan that never struck: their moment did not come before the heal, or they met nothing to change. */
  readonly unstruck: FaultPlan;
  readonly counters: Counters;
  /** What was violated; undefined: nothing. What was thrown and is no error is the `cause` of one. */
  readonly violation: Error | undefined;
  readonly occurrences: readonly Occurrence[];
  readonly traceHash: string;
  /** The hash on the way, at every 256th entry. */
  readonly checkpoints: readonly string[];
  /** Events that were taken. */
  readonly events: number;
  readonly simulatedMs: number;
  /** Real time, in milliseconds. */
  readonly tookMs: number;
  readonly #arrivals: readonly Arrival[];
  readonly #counts: ReadonlyMap<string, number>;

  constructor(parts: Parts) {
    const { options, seed, plan, unstruck, kernel, counters, violation, tookMs } = parts;
    this.scenario = options.name ?? "scenario";
    this.seed = seed;
    this.plan = plan;
    this.unstruck = unstruck;
    this.#arrivals = kernel.arrivals();
    this.counters = counters;
    this.violation = violation;
    this.occurrences = kernel.occurrences;
    this.traceHash = kernel.hash.toString();
    this.checkpoints = kernel.hash.checkpoints;
    this.events = kernel.taken;
    this.simulatedMs = kernel.nowUs / 1_000;
    this.tookMs = tookMs;
    this.#counts = kernel.counts();
  }

  /** The name of the property that was violated; undefined: none. */
  get property(): string | undefined {
    if (this.violation === undefined) return undefined;
    return this.violation instanceof Violation ? this.violation.property : "no error";
  }

  /** How often something was recorded. */
  count(kind: string): number {
    return this.#counts.get(kind) ?? 0;
  }

  /** Faults that struck, by kind. */
  get faults(): Readonly<Record<string, number>> {
    const struck = [...this.#counts].filter(([kind]) => kind.startsWith("fault."));
    return Object.fromEntries(struck.map(([kind, count]) => [kind.slice("fault.".length), count]));
  }

  /** One line that runs it again. */
  get replayLine(): string {
    const plan = this.plan.length === 0 ? "" : `, plan: ${JSON.stringify(this.plan)}`;
    return `simulate({ ...${identifierOf(this.scenario)}, seed: ${JSON.stringify(this.seed)}${plan} })`;
  }

  /** The run as Mermaid draws it: nodes, all faults, and the last `most` messages and occurrences. */
  diagram(most = 60): string {
    return sequenceDiagram(this.occurrences, this.#arrivals, most);
  }

  /** The last occurrences of each node, one line each. */
  last(most: number = shownOfEach): Readonly<Record<string, readonly string[]>> {
    const byNode = new Map<string, string[]>();
    for (const occurrence of this.occurrences) {
      const lines = byNode.get(occurrence.node) ?? [];
      byNode.set(occurrence.node, lines);
      lines.push(tellOccurrence(occurrence));
    }
    return Object.fromEntries([...byNode].map(([node, lines]) => [node, lines.slice(-most)]));
  }

  /** Does nothing if nothing was violated. @throws SimulationFailure that says how to see it again. */
  assert(): void {
    if (this.violation === undefined) return;
    const { message } = this.violation;
    const lines = [
      message.startsWith(`${this.property}:`) ? message : `${this.property}: ${message}`,
      `  replay: ${this.replayLine}`,
      `  after ${this.events} events, ${Math.round(this.simulatedMs)} ms; trace ${this.traceHash}`,
      ...(this.unstruck.length === 0
        ? []
        : [`  ${this.unstruck.length} of ${this.plan.length} faults never struck`]),
      ...this.occurrences.slice(-12).map((occurrence) => `  ${tellOccurrence(occurrence)}`),
    ];
    throw new SimulationFailure(this, lines.join("\n"), { cause: this.violation });
  }

  /** The failure as it is kept. @throws FabricError `NOT_FOUND`: nothing was violated. */
  toKept(): KeptFailure {
    const { property, violation } = this;
    if (property === undefined || violation === undefined)
      throw new FabricError("NOT_FOUND", "Cannot keep a failure: nothing was violated");
    return {
      scenario: this.scenario,
      property,
      message: violation.message,
      seed: this.seed,
      plan: this.plan,
      traceHash: this.traceHash,
      node: process.version,
      last: this.last(),
      diagram: this.diagram(),
    };
  }

  /** Writes the failure to a file of its own, and gives the path. The same failure gives the same file. */
  keep(folder: string = FAILURES_FOLDER): string {
    const kept = this.toKept();
    const { scenario, seed, plan } = kept;
    const name = createHash("sha256")
      .update(JSON.stringify([scenario, seed, plan]))
      .digest("hex");
    const path = join(folder, `${scenario.replaceAll(/[^\w-]+/g, "-")}-${name.slice(0, 12)}.json`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(path, `${JSON.stringify(kept, null, 2)}\n`);
    return path;
  }
}

// A scenario's name as code has it: `unfenced-lock` is the variable `unfencedLock`.
function identifierOf(name: string): string {
  const joined = name.replaceAll(/[^\w$]+(\w?)/g, (_, next: string) => next.toUpperCase());
  return /^[A-Za-z_$]/.test(joined) ? joined : `_${joined}`;
}

/** Reads a failure that was kept. @throws FabricError `NOT_FOUND`: it cannot be read. `DECODE`: the file holds none. */
export function readKept(path: string): KeptFailure {
  const kept = parsedKept(path);
  const isKept =
    typeof kept?.scenario === "string" &&
    typeof kept.seed === "string" &&
    typeof kept.property === "string";
  if (!isKept) throw new FabricError("DECODE", `Cannot replay ${path}: it holds no failure`);
  try {
    parsePlan(kept.plan);
  } catch (thrown) {
    const why = `Cannot replay ${path}: ${(thrown as Error).message}`;
    throw new FabricError("DECODE", why, { path }, { cause: thrown });
  }
  return kept as KeptFailure;
}

function parsedKept(path: string): Partial<KeptFailure> | null {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Partial<KeptFailure> | null;
  } catch (thrown) {
    const isText = thrown instanceof SyntaxError;
    const why = `Cannot replay ${path}: ${isText ? "it is no JSON" : (thrown as Error).message}`;
    throw new FabricError(isText ? "DECODE" : "NOT_FOUND", why, { path }, { cause: thrown });
  }
}

/**
 * The failures that are kept in a folder, by path; of one scenario, where one is named. Files that hold none are passed over,
 * and told to `onUnreadable`.
 * @throws FabricError `DECODE`: a file holds none, and nobody is there to be told.
 */
export function keptFailures(
  folder: string = FAILURES_FOLDER,
  scenario?: string,
  onUnreadable?: (path: string, error: FabricError) => void,
): readonly (readonly [path: string, failure: KeptFailure])[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  const read = (path: string): readonly (readonly [string, KeptFailure])[] => {
    try {
      return [[path, readKept(path)]];
    } catch (error) {
      if (onUnreadable === undefined || !(error instanceof FabricError)) throw error;
      onUnreadable(path, error);
      return [];
    }
  };
  return names
    .filter((name) => name.endsWith(".json"))
    .toSorted()
    .flatMap((name) => read(join(folder, name)))
    .filter(([, failure]) => scenario === undefined || failure.scenario === scenario);
}
