/** The tasks of a job, and what is wrong with them. */
import { describe, FabricError, type FabricErrorCode } from "@selvage/fabric";
import { checkTimeout } from "../run/execution-options.ts";
import type { JobTask } from "./job-options.ts";
import { DagShape, neighbours, shapeOf } from "../graph/topology.ts";

/** Something wrong with the tasks of a job. */
export type JobProblem =
  | { readonly error: "invalid-task"; readonly name: string; readonly message: string }
  | { readonly error: "duplicate-name"; readonly name: string }
  | {
      readonly error: "missing-dependencies";
      readonly name: string;
      readonly missing: readonly string[];
    }
  | {
      readonly error: "continue-on-failure-with-dependents";
      readonly name: string;
      readonly dependents: readonly string[];
    }
  | { readonly error: "dependency-cycle"; readonly cycle: readonly string[] };

/** Who depends on whom. */
export class JobGraph {
  readonly names: readonly string[];
  /** Undefined where there is a cycle. */
  readonly shape: DagShape | undefined;
  /** A closed cycle by names, in the order in which its tasks would run. */
  readonly cycle: readonly string[] | undefined;
  readonly #dependencies: readonly (readonly string[])[];
  readonly #indexOf = new Map<string, number>();

  constructor(tasks: readonly JobTask[]) {
    this.names = tasks.map(({ name }) => name);
    this.#dependencies = tasks.map(({ dependencies = [] }) => [...dependencies]);
    for (const [at, name] of this.names.entries())
      if (!this.#indexOf.has(name)) this.#indexOf.set(name, at);
    const edges: number[] = [];
    for (const [at, dependencies] of this.#dependencies.entries())
      for (const name of dependencies) {
        const before = this.#indexOf.get(name);
        if (before !== undefined) edges.push(before, at);
      }
    const found = shapeOf(tasks.length, edges);
    this.shape = found instanceof DagShape ? found : undefined;
    if (found instanceof DagShape) return;
    const { cycle, isFromRoot } = found;
    // Where something leads into the cycle, it begins there; else it ends with the task that stands first.
    const turned = isFromRoot ? [...cycle.slice(1), cycle[1] as number] : cycle;
    this.cycle = turned.map((at) => this.names[at] as string);
  }

  /** Names of the tasks directly before one. */
  dependencies(name: string): readonly string[] {
    return [...new Set(this.#dependencies[this.#indexOf.get(name) ?? -1])];
  }

  /** Names of the tasks directly after one. */
  dependents(name: string): readonly string[] {
    const at = this.#indexOf.get(name);
    if (at === undefined) return [];
    if (this.shape !== undefined)
      return Array.from(neighbours(this.shape.after, at), (one) => this.names[one] as string);
    return this.names.filter((_, one) => this.#dependencies[one]?.includes(name));
  }

  /** True if there is a task of that name. */
  has(name: string): boolean {
    return this.#indexOf.has(name);
  }
}

/** Everything that is wrong with the tasks of a job, at once; none, if all is well. */
export function validateTasks(tasks: readonly JobTask[]): readonly JobProblem[] {
  const shapes = shapeProblems(tasks);
  return shapes.length > 0 ? shapes : graphProblems(tasks, new JobGraph(tasks));
}

/** The graph of a job's tasks. @throws FabricError that tells everything that is wrong with them, in `details.problems`. */
export function jobGraph(tasks: readonly JobTask[]): JobGraph & { readonly shape: DagShape } {
  const shapes = shapeProblems(tasks);
  if (shapes.length > 0) throw invalidTasks(shapes);
  const graph = new JobGraph(tasks);
  const problems = graphProblems(tasks, graph);
  if (problems.length > 0) throw invalidTasks(problems);
  return graph as JobGraph & { readonly shape: DagShape };
}

function shapeProblems(tasks: readonly JobTask[]): readonly JobProblem[] {
  if (!Array.isArray(tasks))
    return [
      {
        error: "invalid-task",
        name: "",
        message: `tasks: expected an array, got ${describe(tasks)}`,
      },
    ];
  return (tasks as readonly unknown[]).flatMap((task, at): JobProblem[] => {
    const given = typeof task === "object" && task !== null ? (task as Partial<JobTask>) : {};
    const name = typeof given.name === "string" ? given.name : `#${at}`;
    const message = shapeProblem(given);
    return message === undefined ? [] : [{ error: "invalid-task", name, message }];
  });
}

function shapeProblem(task: Partial<JobTask>): string | undefined {
  const { name, fn, dependencies, maxRetries, timeoutMs, continueOnFailure } = task;
  if (typeof name !== "string" || name === "") return "name: expected a name";
  if (typeof fn !== "function") return `fn: expected a function, got ${describe(fn)}`;
  // No other iterables: one that can be walked but once would be empty at the second look.
  if (dependencies !== undefined) {
    const isList = Array.isArray(dependencies) || (dependencies as unknown) instanceof Set;
    if (!isList || ![...dependencies].every((one) => typeof one === "string"))
      return `dependencies: expected an array or a Set of names, got ${describe(dependencies)}`;
  }
  if (maxRetries !== undefined && !(Number.isSafeInteger(maxRetries) && maxRetries >= 0))
    return `maxRetries: expected a whole number from 0 up, got ${describe(maxRetries)}`;
  if (continueOnFailure !== undefined && typeof continueOnFailure !== "boolean")
    return `continueOnFailure: expected true or false, got ${describe(continueOnFailure)}`;
  try {
    checkTimeout("timeoutMs", timeoutMs);
  } catch (thrown) {
    return (thrown as FabricError).message;
  }
  return undefined;
}

function graphProblems(tasks: readonly JobTask[], graph: JobGraph): readonly JobProblem[] {
  const problems: JobProblem[] = [];
  const seen = new Set<string>();
  const twice = new Set<string>();
  for (const { name } of tasks) {
    if (seen.has(name)) twice.add(name);
    seen.add(name);
  }
  for (const name of twice) problems.push({ error: "duplicate-name", name });
  for (const { name, dependencies = [], continueOnFailure } of tasks) {
    const missing = new Set<string>();
    for (const one of dependencies) if (!graph.has(one)) missing.add(one);
    if (missing.size > 0)
      problems.push({ error: "missing-dependencies", name, missing: [...missing] });
    if (continueOnFailure !== true) continue;
    const dependents = graph.dependents(name);
    if (dependents.length > 0)
      problems.push({ error: "continue-on-failure-with-dependents", name, dependents });
  }
  if (graph.cycle !== undefined) problems.push({ error: "dependency-cycle", cycle: graph.cycle });
  return problems;
}

const codes: Readonly<Record<JobProblem["error"], FabricErrorCode>> = {
  "invalid-task": "INVALID_ARGUMENT",
  "duplicate-name": "CONFLICT",
  "missing-dependencies": "UNRESOLVED_REF",
  "continue-on-failure-with-dependents": "CONFLICT",
  "dependency-cycle": "GRAPH_CYCLE",
};

function invalidTasks(problems: readonly JobProblem[]): FabricError {
  const sentences = problems.map(sentence);
  const [code, ...others] = new Set(problems.map(({ error }) => codes[error]));
  // Several kinds of wrong have no code of their own.
  return new FabricError(
    code === undefined || others.length > 0 ? "INVALID_ARGUMENT" : code,
    `Invalid tasks: ${sentences.join("; ")}`,
    { problems: sentences },
  );
}

function sentence(problem: JobProblem): string {
  switch (problem.error) {
    case "invalid-task":
      return `"${problem.name}": ${problem.message}`;
    case "duplicate-name":
      return `two tasks are called "${problem.name}"`;
    case "missing-dependencies":
      return `"${problem.name}" depends on "${problem.missing.join('", "')}", which there is not`;
    case "continue-on-failure-with-dependents":
      return `"${problem.name}" has continueOnFailure, but "${problem.dependents.join('", "')}" depends on it`;
    case "dependency-cycle":
      return `the tasks depend on each other: ${problem.cycle.join(" -> ")}`;
  }
}
