/** Tasks and what must come before what. */
import { FabricError, invalidArgument } from "@selvage/fabric";
import { resolveRetryPolicy } from "@selvage/leasekit";
import { DATA_FORMATS, type DataRef } from "../data/data-format.ts";
import { checkTimeout } from "../run/execution-options.ts";
import { ExecutionPlan } from "./execution-plan.ts";
import type { TaskDef } from "./task.ts";
import { ancestry, DagShape, neighbours, shapeOf } from "./topology.ts";

/** A task of one graph. */
export type TaskId = number & { readonly __unit: "task" };

/** Who makes what a run is given from outside. */
const GIVEN = -1;

/**
 * Collects tasks and dependencies, and builds the plan.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { TaskGraph } from "selvage";
 *
 * const graph = new TaskGraph();
 * const first = graph.addTask({ name: "first", run: () => {} });
 * const second = graph.addTask({ name: "second", run: () => {} });
 * graph.addDependency(first, second);
 * assert.deepEqual(graph.build().waves(), [["first"], ["second"]]);
 * ```
 */
export class TaskGraph {
  readonly #tasks: TaskDef[] = [];
  readonly #inputs: DataRef[] = [];
  // Pairs, flat.
  readonly #edges: number[] = [];

  /** Adds a task. Its name and data are checked by {@link build}. @throws FabricError `INVALID_ARGUMENT`. */
  addTask(task: TaskDef): TaskId {
    checkTask(task);
    this.#tasks.push(task);
    return (this.#tasks.length - 1) as TaskId;
  }

  /**
   * Declares data that each run is given from outside (option `inputs`): any task may read it.
   * @throws FabricError `INVALID_ARGUMENT`.
   */
  addInput(ref: DataRef): void {
    checkRef(ref, "the graph", "inputs");
    this.#inputs.push(ref);
  }

  /** Lets `after` start only once `before` has succeeded. Adding it twice is adding it once. */
  addDependency(before: TaskId, after: TaskId): void {
    this.#checkId("before", before);
    this.#checkId("after", after);
    this.#edges.push(before, after);
  }

  /**
   * Checks the graph and orders it into waves. An empty graph is a plan without waves.
   * @throws FabricError `CONFLICT` (two tasks of one name, two producers of one output, two formats of one name, a task
   * with `continueOnFailure` that others depend on),
   * `GRAPH_CYCLE` (`details.path` is the closed cycle), `UNRESOLVED_REF` (`details.refs` names every one).
   */
  build(): ExecutionPlan {
    const names = this.#tasks.map(({ name }) => name);
    refuseDuplicates(names, (name) => `two tasks are called "${name}"`, "task");
    const shape = shapeOf(names.length, this.#edges);
    if (!(shape instanceof DagShape)) {
      const path = shape.cycle.map((task) => names[task] as string);
      throw new FabricError("GRAPH_CYCLE", `The graph has a cycle: ${path.join(" -> ")}`, { path });
    }
    this.#refuseTolerated(shape);
    this.#refuseRefs(shape, this.#producers());
    return new ExecutionPlan([...this.#tasks], shape, [...this.#inputs]);
  }

  #checkId(argument: string, id: TaskId): void {
    if (!Number.isInteger(id) || id < 0 || id >= this.#tasks.length)
      throw invalidArgument(argument, "a task of this graph", id);
  }

  // Which task makes each output.
  #producers(): Map<string, { readonly task: number; readonly ref: DataRef }> {
    const producers = new Map<string, { readonly task: number; readonly ref: DataRef }>();
    const outputs = this.#inputs.map((ref) => ({ task: GIVEN, ref }));
    for (const [task, { outputs: refs }] of this.#tasks.entries())
      if (refs !== undefined) for (const ref of refs) outputs.push({ task, ref });
    refuseDuplicates(
      outputs.map(({ ref }) => ref.name),
      (name) => {
        const makers = outputs.filter(({ ref }) => ref.name === name);
        const tasks = makers.map(({ task }) =>
          task === GIVEN ? "the run's caller" : `"${this.#tasks[task]?.name}"`,
        );
        return `output "${name}" is made twice, by ${tasks.join(" and ")}`;
      },
      "output",
    );
    for (const output of outputs) producers.set(output.ref.name, output);
    return producers;
  }

  // What could its dependants be given, if it fails and that does not matter?
  #refuseTolerated({ after }: DagShape): void {
    const wrong: { readonly name: string; readonly dependants: readonly unknown[] }[] = [];
    for (const [index, { name, continueOnFailure }] of this.#tasks.entries()) {
      if (continueOnFailure !== true) continue;
      const dependants = Array.from(neighbours(after, index), (task) => this.#tasks[task]?.name);
      if (dependants.length > 0) wrong.push({ name, dependants });
    }
    if (wrong.length === 0) return;
    const sentences = wrong.map(
      ({ name, dependants }) =>
        `"${name}" has continueOnFailure, but "${dependants.join('", "')}" depends on it`,
    );
    throw new FabricError("CONFLICT", `Cannot build the graph: ${sentences.join("; ")}`, {
      kind: "continueOnFailure",
      names: wrong.map(({ name }) => name),
    });
  }

  #refuseRefs(
    shape: DagShape,
    producers: ReadonlyMap<string, { readonly task: number; readonly ref: DataRef }>,
  ): void {
    const isAncestor = ancestry(shape);
    const missing: string[] = [];
    for (const [index, task] of this.#tasks.entries())
      for (const ref of task.inputs ?? []) {
        const producer = producers.get(ref.name);
        if (producer === undefined) missing.push(`${task.name}.${ref.name}`);
        else if (producer.task !== GIVEN && !isAncestor(producer.task, index))
          missing.push(
            `${task.name}.${ref.name} (made by "${this.#tasks[producer.task]?.name}", not an ancestor)`,
          );
        else refuseFormats(task, ref, producer.ref);
      }
    if (missing.length === 0) return;
    const refs = [...new Set(missing)];
    throw new FabricError("UNRESOLVED_REF", `Nothing before it makes: ${refs.join(", ")}`, {
      refs,
    });
  }
}

function checkTask(task: TaskDef): void {
  if (typeof task !== "object" || task === null)
    throw invalidArgument("task", "a task definition", task);
  if (typeof task.name !== "string" || task.name === "")
    throw invalidArgument("task.name", "a name", task.name);
  const isRunnable =
    typeof task.run === "function" || typeof (task.run as { href?: unknown })?.href === "string";
  if (!isRunnable)
    throw invalidArgument(`task "${task.name}".run`, "a function or a module URL", task.run);
  const { retries = 0, backoff } = task;
  if (!Number.isSafeInteger(retries) || retries < 0)
    throw invalidArgument(`task "${task.name}".retries`, "a whole number from 0 up", retries);
  if (backoff !== undefined && (typeof backoff !== "object" || backoff === null))
    throw invalidArgument(`task "${task.name}".backoff`, "an object", backoff);
  resolveRetryPolicy({ ...backoff, retries });
  checkRefs(task, "inputs");
  checkRefs(task, "outputs");
  checkLimits(task);
}

function checkLimits(task: TaskDef): void {
  const { timeoutMs, continueOnFailure, uses, resourceReq } = task;
  checkTimeout(`task "${task.name}".timeoutMs`, timeoutMs);
  if (continueOnFailure !== undefined && typeof continueOnFailure !== "boolean")
    throw invalidArgument(
      `task "${task.name}".continueOnFailure`,
      "true or false",
      continueOnFailure,
    );
  if (
    uses !== undefined &&
    !(Array.isArray(uses) && uses.every((name) => typeof name === "string"))
  )
    throw invalidArgument(`task "${task.name}".uses`, "an array of names", uses);
  if (resourceReq === undefined) return;
  if (typeof resourceReq !== "object" || resourceReq === null)
    throw invalidArgument(`task "${task.name}".resourceReq`, "an object", resourceReq);
  for (const key of ["minMemoryBytes", "threads"] as const) {
    const value = resourceReq[key];
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 0))
      throw invalidArgument(
        `task "${task.name}".resourceReq.${key}`,
        "a whole number from 0 up",
        value,
      );
  }
}

function checkRefs(task: TaskDef, key: "inputs" | "outputs"): void {
  const refs: unknown = task[key] ?? [];
  if (!Array.isArray(refs))
    throw invalidArgument(`task "${task.name}".${key}`, "an array of { name, format }", refs);
  for (const ref of refs as unknown[]) checkRef(ref, `task "${task.name}"`, key);
}

function checkRef(ref: unknown, whose: string, key: "inputs" | "outputs"): void {
  if (typeof ref !== "object" || ref === null)
    throw invalidArgument(`an entry of ${whose}.${key}`, "{ name, format }", ref);
  const { name, format } = ref as Partial<DataRef>;
  if (typeof name !== "string" || name === "")
    throw invalidArgument(`a name in ${whose}.${key}`, "a name", name);
  if (format === undefined || !DATA_FORMATS.includes(format))
    throw invalidArgument(`format of "${name}"`, `one of ${DATA_FORMATS.join(", ")}`, format);
}

function refuseDuplicates(
  names: readonly string[],
  sentence: (name: string) => string,
  kind: string,
): void {
  if (new Set(names).size === names.length) return;
  const seen = new Set<string>();
  const twice = new Set(names.filter((name) => seen.size === seen.add(name).size));
  const message = [...twice].map(sentence).join("; ");
  throw new FabricError("CONFLICT", `Cannot build the graph: ${message}`, {
    kind,
    names: [...twice],
  });
}

function refuseFormats(task: TaskDef, wanted: DataRef, made: DataRef): void {
  if (wanted.format === made.format) return;
  throw new FabricError(
    "CONFLICT",
    `Cannot build the graph: "${task.name}" reads "${wanted.name}" as ${wanted.format}, but it is made as ${made.format}`,
    { kind: "format", names: [wanted.name], wanted: wanted.format, made: made.format },
  );
}
