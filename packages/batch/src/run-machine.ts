/**
 * Which task starts, is skipped or is given up, and when a run is settled: a state machine without I/O.
 *
 * Invariant D1: every task ends in exactly one outcome, whatever comes: `end` refuses a second one.
 * Invariant D3: a failure skips exactly the tasks that depend on it, once, and names itself as the cause.
 */
import { assert } from "@selvage/fabric";
import type { ExecutionPlan, PlannedTask } from "./execution-plan.ts";

/** How a task ended. */
export type TaskOutcome = "succeeded" | "failed" | "skipped" | "cancelled" | "timedOut";
/** How a task stands. */
export type TaskStatus = "pending" | "running" | "waiting" | TaskOutcome;

/** What the shell is to do. */
export type RunEffect =
  | { readonly do: "start"; readonly task: string }
  | { readonly do: "skip"; readonly task: string; readonly because: string }
  | { readonly do: "cancel"; readonly task: string }
  | { readonly do: "wave"; readonly index: number; readonly state: "started" | "ended" }
  | { readonly do: "settle" };

interface Node {
  readonly task: PlannedTask;
  outcome: TaskOutcome | undefined;
  isStarted: boolean;
  because: string | undefined;
}

/** The machine of one run, by waves: a wave starts when every task of the one before has ended. */
export class RunMachine {
  readonly #waves: readonly (readonly string[])[];
  readonly #nodes = new Map<string, Node>();
  #wave = -1;
  #isWaveStarted = false;
  // Tasks that have not ended: of the wave at work, and of all.
  #openInWave = 0;
  #open: number;
  #isCancelled = false;
  #isSettled = false;

  constructor(plan: ExecutionPlan) {
    this.#waves = plan.waves();
    for (const task of plan.tasks)
      this.#nodes.set(task.name, {
        task,
        outcome: undefined,
        isStarted: false,
        because: undefined,
      });
    this.#open = plan.taskCount();
  }

  /** Starts the run. */
  start(): RunEffect[] {
    return this.#advance();
  }

  /** A started task ended. Dependants of one that did not succeed are skipped. */
  end(name: string, outcome: TaskOutcome): RunEffect[] {
    const node = this.#node(name);
    assert(node.outcome === undefined, "a task ends once", name);
    assert(node.isStarted, "a task that ends was started", name);
    node.outcome = outcome;
    this.#open--;
    this.#openInWave--;
    const effects = outcome === "succeeded" ? [] : this.#skipDependants(node);
    return [...effects, ...this.#advance()];
  }

  /** Gives up: what has not started is cancelled; what runs is the shell's to stop, and to `end`. */
  cancel(): RunEffect[] {
    if (this.#isCancelled || this.#isSettled) return [];
    this.#isCancelled = true;
    const effects: RunEffect[] = [];
    for (const node of this.#nodes.values()) {
      if (node.isStarted || node.outcome !== undefined) continue;
      node.outcome = "cancelled";
      this.#open--;
      effects.push({ do: "cancel", task: node.task.name });
    }
    return [...effects, ...this.#advance()];
  }

  /** True once `cancel` was called. */
  get isCancelled(): boolean {
    return this.#isCancelled;
  }

  #skipDependants(failed: Node): RunEffect[] {
    // The cause is the root: a skipped task passes its own cause on.
    const because = failed.because ?? failed.task.name;
    const effects: RunEffect[] = [];
    const stack = [...failed.task.before];
    for (let name = stack.pop(); name !== undefined; name = stack.pop()) {
      const node = this.#node(name);
      if (node.outcome !== undefined) continue;
      node.outcome = "skipped";
      node.because = because;
      this.#open--;
      effects.push({ do: "skip", task: name, because });
      for (const after of node.task.before) stack.push(after);
    }
    return effects;
  }

  // Moves from wave to wave while there is nothing to wait for.
  #advance(): RunEffect[] {
    const effects: RunEffect[] = [];
    while (!this.#isSettled && this.#openInWave === 0) {
      if (this.#isWaveStarted) effects.push({ do: "wave", index: this.#wave, state: "ended" });
      this.#wave++;
      this.#isWaveStarted = false;
      if (this.#open === 0) {
        this.#isSettled = true;
        effects.push({ do: "settle" });
        break;
      }
      const wave = this.#waves[this.#wave];
      assert(wave !== undefined, "a task that has not ended is in a wave to come", this.#open);
      const tasks = wave.filter((name) => this.#node(name).outcome === undefined);
      // A wave of skipped tasks neither starts nor ends.
      if (tasks.length === 0) continue;
      this.#isWaveStarted = true;
      this.#openInWave = tasks.length;
      effects.push({ do: "wave", index: this.#wave, state: "started" });
      for (const task of tasks) {
        this.#node(task).isStarted = true;
        effects.push({ do: "start", task });
      }
    }
    return effects;
  }

  #node(name: string): Node {
    const node = this.#nodes.get(name);
    assert(node !== undefined, "a task of the plan", name);
    return node;
  }
}
