/** Rules of any run: what must happen once, soon, always or never, and histories of clients that must make sense. */
import { invalidArgument } from "@selvage/fabric";
import { checkOf, nameIn, Violation, type Check, type FinishedRun } from "./check.ts";
import type { Operation } from "./history.ts";
import {
  checkLinearizable,
  describeCounterexample,
  type LinearizabilityOptions,
} from "./linearizability.ts";
import type { Model } from "./model.ts";
import { sometimes } from "./sometimes.ts";
import type { Occurrence } from "./trace.ts";

/** Which effects happen exactly once. */
export interface ExactlyOnceOptions {
  /** The kind of occurrence that is an effect, `"effect"` for instance. */
  readonly kind: string;
  /** What must not repeat: the name of a detail, or of several, or what a function makes of an occurrence. */
  readonly key: string | readonly string[] | ((occurrence: Occurrence) => string);
  /** How many different ones there must be at the end. Without it, none may repeat; whether any is missing is not asked. */
  readonly count?: number;
}

/** By a ledger of effects: none happens twice and, with `count`, none is missing at the end. */
export function exactlyOnce({ kind, key, count }: ExactlyOnceOptions): Check {
  return checkOf("exactlyOnce", (breach) => {
    const ledger = new Map<string, Occurrence>();
    return {
      on: {
        [kind]: (occurrence) => {
          const once = onceBy(key, occurrence);
          const first = ledger.get(once);
          if (first !== undefined)
            breach(
              `${kind} twice for ${once}: also at ${first.atMs} ms on ${first.node}`,
              occurrence,
            );
          ledger.set(once, occurrence);
        },
      },
      end: () => {
        if (count !== undefined && ledger.size !== count)
          breach(`${kind} for ${ledger.size}, not for ${count}`);
      },
    };
  });
}

function onceBy(key: ExactlyOnceOptions["key"], occurrence: Occurrence): string {
  if (typeof key === "function") return key(occurrence);
  const names = typeof key === "string" ? [key] : key;
  return names.map((name) => `${name} ${nameIn(occurrence, name)}`).join(", ");
}

/** Which operations of the history a model judges, and for how long. */
export interface LinearizableOptions extends LinearizabilityOptions {
  /** Default all. */
  readonly only?: (operation: Operation) => boolean;
}

/**
 * E4: the history of the clients has an order that `model` allows and that respects which operation ended before which
 * began. A search that gives up is an undecided {@link Violation}.
 */
export function linearizable<State extends object, Input, Output>(
  model: Model<State, Input, Output>,
  options: LinearizableOptions = {},
): Check {
  const { only = () => true, ...limits } = options;
  return checkOf("linearizable", (breach) => ({
    on: {},
    end: ({ history }) => {
      // What clients recorded is what the model is said to know; its steps throw at any other input.
      const operations = history.operations().filter(only) as Operation<Input, Output>[];
      sometimes("check.linearizable", operations.length > 0);
      const found = checkLinearizable(model, operations, limits);
      if (found.verdict === "gave-up") {
        const { steps, key } = found;
        breach(`gave up after ${steps} steps at ${model.name} "${key}"`, undefined, "undecided");
      }
      if (found.verdict === "not-linearizable")
        breach(describeCounterexample(model, found.counterexample));
    },
  }));
}

/** E6: after the faults are removed, `drained` occurs within so many milliseconds. */
export function drainedWithin(ms: number): Check {
  return eventually("drained", ms, { name: "drainedWithin" });
}

/** What {@link eventually} asks for. */
export interface EventuallyOptions {
  /** Which occurrences of that kind count. Default all. */
  readonly where?: (occurrence: Occurrence) => boolean;
  /** Of the check, in reports. Default `eventually KIND`. */
  readonly name?: string;
}

/**
 * After the faults are removed, `kind` occurs within so many milliseconds. Undecided when they were not removed, or when the
 * run ended before the time was up. @throws FabricError `INVALID_ARGUMENT`.
 */
export function eventually(kind: string, withinMs: number, options: EventuallyOptions = {}): Check {
  const { where = () => true, name = `eventually ${kind}` } = options;
  if (!(withinMs >= 0)) throw invalidArgument("withinMs", "milliseconds from 0 up", withinMs);
  return checkOf(name, (breach) => ({
    on: {},
    end: ({ occurrences, healedAtMs, durationMs }: FinishedRun) => {
      if (healedAtMs === undefined)
        return breach("the faults were never removed", undefined, "undecided");
      const first = occurrences.find(
        (occurrence) =>
          occurrence.kind === kind && occurrence.atMs >= healedAtMs && where(occurrence),
      );
      const endMs = healedAtMs + withinMs;
      if (first !== undefined && first.atMs <= endMs) return;
      const happened = first === undefined ? "never" : `only at ${first.atMs} ms`;
      const message = `${kind} ${happened} after the faults were removed at ${healedAtMs} ms`;
      if (durationMs < endMs && first === undefined)
        breach(
          `${message}; the run ended at ${durationMs} ms, before ${endMs} ms`,
          undefined,
          "undecided",
        );
      breach(`${message}, not by ${endMs} ms`, first);
    },
  }));
}

/** `holds` is true of every occurrence. A predicate that throws is a violation too, with the error as its cause. */
export function always(name: string, holds: (occurrence: Occurrence) => boolean): Check {
  return {
    name,
    observe(occurrence) {
      const { kind, node, atMs, seq } = occurrence;
      const where = `${kind} on ${node} at ${atMs} ms`;
      let isSo: boolean;
      try {
        isSo = holds(occurrence);
      } catch (cause) {
        throw new Violation(name, `the predicate threw at ${where}`, seq, "violated", { cause });
      }
      if (!isSo) throw new Violation(name, `does not hold at ${where}`, seq);
    },
  };
}

/** `kind` does not occur; with `where`, not such that it is true. */
export function never(
  kind: string,
  where: (occurrence: Occurrence) => boolean = () => true,
): Check {
  const isElse = (occurrence: Occurrence): boolean =>
    occurrence.kind !== kind || !where(occurrence);
  return always(`never ${kind}`, isElse);
}
