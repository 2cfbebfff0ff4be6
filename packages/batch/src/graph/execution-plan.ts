/** A checked graph, ready to run: as often as one likes. */
import type { DataRef } from "../data/data-format.ts";
import { drawMermaid } from "../report/mermaid.ts";
import type { TaskDef } from "./task.ts";
import { neighbours, type DagShape } from "./topology.ts";

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
  /** What comes before what, by the tasks' places in `tasks`. For schedulers. */
  readonly shape: DagShape;

  /** For `TaskGraph.build()`. */
  constructor(defs: readonly TaskDef[], shape: DagShape, inputs: readonly DataRef[] = []) {
    this.tasks = defs.map((def, index) => new Planned(defs, shape, def, index));
    this.shape = shape;
    this.inputs = inputs;
  }

  /** Names of the tasks by wave: a wave's predecessors are all in earlier ones. */
  waves(): string[][] {
    return Array.from({ length: this.shape.waveCount }, (_, wave) => this.wave(wave));
  }

  /** What the tasks make. */
  outputs(): DataRef[] {
    return this.tasks.flatMap(({ outputs }) => outputs);
  }

  /** The place of each task in the order in which the waves start them. */
  places(): Map<string, number> {
    return new Map(
      this.waves()
        .flat()
        .map((name, place) => [name, place]),
    );
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

  /** Names of the tasks of one wave. */
  wave(wave: number): string[] {
    return Array.from(
      neighbours(this.shape.waves, wave),
      (task) => (this.tasks[task] as PlannedTask).name,
    );
  }
}

// The names of its neighbours are looked up when they are asked for: a plan of a million tasks stays small.
class Planned implements PlannedTask {
  readonly def: TaskDef;
  readonly inputs: readonly DataRef[];
  readonly #defs: readonly TaskDef[];
  readonly #shape: DagShape;
  readonly #index: number;

  constructor(defs: readonly TaskDef[], shape: DagShape, def: TaskDef, index: number) {
    this.def = def;
    this.inputs = def.inputs === undefined ? nothing : uniqueRefs(def.inputs);
    this.#defs = defs;
    this.#shape = shape;
    this.#index = index;
  }

  get name(): string {
    return this.def.name;
  }

  get outputs(): readonly DataRef[] {
    return this.def.outputs ?? nothing;
  }

  get after(): readonly string[] {
    return this.#names(neighbours(this.#shape.before, this.#index));
  }

  get before(): readonly string[] {
    return this.#names(neighbours(this.#shape.after, this.#index));
  }

  get wave(): number {
    return this.#shape.waveOf[this.#index] as number;
  }

  #names(tasks: Int32Array): string[] {
    return Array.from(tasks, (task) => (this.#defs[task] as TaskDef).name);
  }
}

const nothing: readonly DataRef[] = [];

function uniqueRefs(refs: readonly DataRef[]): DataRef[] {
  return [...new Map(refs.map((ref) => [`${ref.name}\n${ref.format}`, ref])).values()];
}
