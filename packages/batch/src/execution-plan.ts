/** A checked graph, ready to run: as often as one likes. */
import type { DataRef } from "./data-format.ts";
import { drawMermaid } from "./report/mermaid.ts";
import type { TaskDef } from "./task.ts";

/** A task in its place. */
export interface PlannedTask {
  readonly def: TaskDef;
  readonly name: string;
  readonly inputs: readonly DataRef[];
  readonly outputs: readonly DataRef[];
  /** Names of the tasks directly before and after it. */
  readonly after: readonly string[];
  readonly before: readonly string[];
  /** Which wave it is in, from 0. */
  readonly wave: number;
}

/** What `TaskGraph.build()` gives. */
export class ExecutionPlan {
  /** The tasks, as they were added. */
  readonly tasks: readonly PlannedTask[];
  /** What a run is given from outside. */
  readonly inputs: readonly DataRef[];
  readonly #waves: readonly (readonly string[])[];

  /** For `TaskGraph.build()`. */
  constructor(
    tasks: readonly PlannedTask[],
    waves: readonly (readonly string[])[],
    inputs: readonly DataRef[] = [],
  ) {
    this.tasks = tasks;
    this.inputs = inputs;
    this.#waves = waves;
  }

  /** Names of the tasks by wave: a wave's predecessors are all in earlier ones. */
  waves(): string[][] {
    return this.#waves.map((wave) => [...wave]);
  }

  /** What the tasks make. */
  outputs(): DataRef[] {
    return this.tasks.flatMap(({ outputs }) => outputs);
  }

  /** How many tasks there are. */
  taskCount(): number {
    return this.tasks.length;
  }

  /**
   * The plan as a Mermaid flowchart, for a page or a pull request: waves as subgraphs, edges with the names of the data
   * that goes over them, what each task needs. The same plan gives the same text. Any name can be shown. Mermaid itself
   * draws some 500 edges unless it is told to draw more.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { TaskGraph } from "selvage";
   *
   * const graph = new TaskGraph();
   * const words = { name: "words", format: "raw" } as const;
   * const read = graph.addTask({ name: "read", outputs: [words], run: () => ({ words: new Uint8Array(8) }) });
   * const tally = graph.addTask({ name: "tally", inputs: [words], run: () => {} });
   * graph.addDependency(read, tally);
   * assert.match(graph.build().toMermaid(), /t0 -->\|"words"\| t1/);
   * ```
   */
  toMermaid(): string {
    return drawMermaid(this.tasks, this.waves());
  }
}
