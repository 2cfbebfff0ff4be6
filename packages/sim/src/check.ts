/** What a check is: a rule that a run is held to, occurrence by occurrence and at its end. */
import { invalidArgument } from "@selvage/fabric";
import type { History } from "./history.ts";
import { sometimes } from "./sometimes.ts";
import type { Occurrence } from "./trace.ts";

/** A run that has ended. */
export interface FinishedRun {
  readonly occurrences: readonly Occurrence[];
  readonly history: History;
  /** How long it took, in virtual milliseconds. */
  readonly durationMs: number;
  /** When all faults were removed; undefined when they never were. */
  readonly healedAtMs: number | undefined;
}

/** A rule, with what it remembers of one run: make a new one for each run. */
export interface Check {
  readonly name: string;
  /** Is told of each occurrence, in order. @throws Violation. */
  readonly observe?: (occurrence: Occurrence) => void;
  /** Is told when the run is over. @throws Violation. */
  readonly end?: (run: FinishedRun) => void;
}

/**
 * `"violated"`: the rule was broken. `"undecided"`: the check could not tell, for lack of time or steps; nothing is known to
 * be wrong, but it must not pass for right.
 */
export type Verdict = "violated" | "undecided";

/** A run broke a rule, or a check could not tell. */
export class Violation extends Error {
  /** The name of the check. */
  readonly property: string;
  readonly verdict: Verdict;
  /** The place in the run of the occurrence that broke it; undefined when only the end shows it. */
  readonly seq: number | undefined;

  constructor(
    property: string,
    message: string,
    seq?: number,
    verdict: Verdict = "violated",
    options?: ErrorOptions,
  ) {
    super(`${property}: ${message}`, options);
    this.name = "Violation";
    this.property = property;
    this.verdict = verdict;
    this.seq = seq;
  }
}

/** Holds a finished run to checks that are new. @throws Violation, the first one. */
export function holdTo(checks: readonly Check[], run: FinishedRun): void {
  for (const occurrence of run.occurrences) for (const check of checks) check.observe?.(occurrence);
  for (const check of checks) check.end?.(run);
}

/** A rule's own part of a check: what it does at each kind that it looks at. */
export interface Rule {
  /** Throws by {@link Breach} when `occurrence` breaks the rule. */
  readonly on: Readonly<Record<string, (occurrence: Occurrence) => void>>;
  readonly end?: (run: FinishedRun) => void;
}

/** Throws the violation of the check that it belongs to. */
export type Breach = (message: string, occurrence?: Occurrence, verdict?: Verdict) => never;

/** Makes a check of a rule. Counts `check.NAME` where it looked at anything: one that never does proves nothing. */
export function checkOf(name: string, rule: (breach: Breach) => Rule): Check {
  const { on, end } = rule((message, occurrence, verdict) => {
    throw new Violation(name, message, occurrence?.seq, verdict);
  });
  const handlers = new Map(Object.entries(on));
  let isLooking = false;
  return {
    name,
    observe(occurrence) {
      const handler = handlers.get(occurrence.kind);
      if (handler === undefined) return;
      isLooking = true;
      handler(occurrence);
    },
    end(run) {
      if (handlers.size > 0) sometimes(`check.${name}`, isLooking);
      end?.(run);
    },
  };
}

/**
 * A detail that identifies something, as text. An occurrence without it would be judged by nothing at all.
 * @throws FabricError `INVALID_ARGUMENT` when it is not there.
 */
export function nameIn({ kind, details }: Occurrence, detail: string): string {
  const value = details[detail];
  if (value === undefined) throw invalidArgument(`${detail} of ${kind}`, "a name", value);
  return String(value);
}

/** A detail that is a number. @throws FabricError `INVALID_ARGUMENT` when it is not. */
export function numberIn({ kind, details }: Occurrence, detail: string): number {
  const value = details[detail];
  if (typeof value !== "number" || Number.isNaN(value))
    throw invalidArgument(`${detail} of ${kind}`, "a number", value);
  return value;
}

/** Details that together identify something, as one text that no other ones give. */
export function keyOf(occurrence: Occurrence, ...details: readonly string[]): string {
  let key = "";
  for (const detail of details) key += keyPart(nameIn(occurrence, detail));
  return key;
}

/** The text that {@link keyOf} gives of details that are these. */
export function keyOfNames(...names: readonly string[]): string {
  return names.map(keyPart).join("");
}

// With its length before it, no part can pass for another's end.
function keyPart(name: string): string {
  return `${name.length} ${name}`;
}

/** The value under `key`; made and kept when there is none. */
export function at<Key, Value>(values: Map<Key, Value>, key: Key, make: () => Value): Value {
  const found = values.get(key);
  if (found !== undefined) return found;
  const made = make();
  values.set(key, made);
  return made;
}
