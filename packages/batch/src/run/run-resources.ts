/** What the tasks of a run need, and what there is: memory of the fabric, threads of the host, named units. */
import { FabricError, invalidArgument, type Fabric } from "@selvage/fabric";
import type { Resource } from "../machine/admission.ts";
import type { ExecutionPlan, PlannedTask } from "../graph/execution-plan.ts";
import type { RunMachine } from "../machine/run-machine.ts";
import { isModule } from "../graph/task.ts";

/** What a run may use. */
export interface RunCapacity {
  readonly fabric: Fabric;
  /** Threads that tasks may keep busy; undefined: as many as they like. */
  readonly threads: number | undefined;
  /** Tasks on the calling thread that may run at a time; undefined: as many as there are slots. */
  readonly attempts: number | undefined;
  readonly limits: Readonly<Record<string, number>>;
}

/** The resources of one run. */
export class RunResources {
  readonly resources: readonly Resource[];
  readonly #fabric: Fabric;
  // Which of the resources is memory; -1: no task asks for any.
  readonly #memory: number;
  // How long, in looks, what waits for memory has waited for others than running tasks.
  #heldMs = 0;

  /**
   * Adds up what the tasks of a plan need.
   * @throws FabricError `CAPACITY_EXCEEDED` where a task needs more than there can ever be, `INVALID_ARGUMENT` for a limit on
   * something that no task uses.
   */
  constructor(plan: ExecutionPlan, { fabric, threads, attempts, limits }: RunCapacity) {
    this.#fabric = fabric;
    const { tasks } = plan;
    const resources: Resource[] = [];
    const add = (name: string, capacity: number, demandOf: (task: PlannedTask) => number): void => {
      if (!tasks.some((task) => demandOf(task) > 0)) return;
      const demand = new Float64Array(tasks.length);
      for (const [at, task] of tasks.entries()) demand[at] = demandOf(task);
      resources.push({ name, capacity, demand });
    };
    const quota = fabric.options.tenants["default"]?.memoryBytes ?? Infinity;
    const memoryBytes = Math.min(fabric.options.memoryBytes, quota);
    add("memory", memoryBytes, ({ def }) => def.resourceReq?.minMemoryBytes ?? 0);
    this.#memory = resources.length - 1;
    if (threads !== undefined) add("threads", threads, threadsOf);
    // Who waits for its turn is not even an attempt yet: it costs nothing.
    if (attempts !== undefined) add("attempts", attempts, ({ def }) => (isModule(def.run) ? 0 : 1));
    for (const [name, capacity] of Object.entries(limits)) {
      const was = resources.length;
      add(name, capacity, ({ def }) => (def.uses?.includes(name) === true ? 1 : 0));
      if (resources.length === was)
        throw invalidArgument("limits", "names that a task of the plan uses", name);
    }
    this.resources = resources;
    for (const resource of resources) refuseMisfits(resource, tasks);
  }

  /** Tells the machine how much memory others have than its running tasks, of which those have `leased`. */
  look(machine: RunMachine, leased: () => number): void {
    if (this.#memory < 0) return;
    const { capacity } = this.resources[this.#memory] as Resource;
    const { freeBytes, largestFreeBytes } = this.#fabric.stats().memory;
    // A tenant's quota may be used up while the fabric has room.
    const isShared = capacity < this.#fabric.options.memoryBytes;
    const free = isShared ? Math.min(freeBytes, largestFreeBytes) : freeBytes;
    machine.setOutside(this.#memory, Math.max(0, capacity - free - leased()));
  }

  /**
   * Looks, every `stepMs`, whether something waits for what others than running tasks have; true if it may start now.
   * After `boundMs` whatever could come free has: it starts, and if it really needs that much its leases say
   * `CAPACITY_EXCEEDED`. It does not wait for ever.
   */
  hold(machine: RunMachine, stepMs: number, boundMs: number): boolean {
    if (!machine.waitsForOutside) {
      this.#heldMs = 0;
      return false;
    }
    // What is at work may give something back.
    this.#heldMs = machine.isAtWork ? 0 : this.#heldMs + stepMs;
    if (this.#heldMs > boundMs) {
      this.#heldMs = 0;
      machine.ignoreOutside();
    }
    return true;
  }

  /** How much memory is kept for a task while it runs, in bytes. */
  memoryOf(task: number): number {
    return this.#memory < 0
      ? 0
      : ((this.resources[this.#memory] as Resource).demand[task] as number);
  }
}

function threadsOf({ def }: PlannedTask): number {
  return def.resourceReq?.threads ?? (isModule(def.run) ? 1 : 0);
}

function refuseMisfits({ name, capacity, demand }: Resource, tasks: readonly PlannedTask[]): void {
  const misfits = tasks.filter((_, at) => (demand[at] as number) > capacity);
  if (misfits.length === 0) return;
  const names = misfits.map((task) => task.name);
  throw new FabricError(
    "CAPACITY_EXCEEDED",
    `Cannot run the plan: there are ${capacity} of ${name}, and "${names.join('", "')}" can never have enough`,
    { resource: name, capacity, tasks: names },
  );
}

/** How many modules threads import ahead: a plan may have one for each of its tasks, told apart by their URLs alone. */
const importedAhead = 16;

/** Modules that threads may import while nobody needs them: those of the second wave and on, since the first one's start at once. */
export function modulesAhead({ tasks }: ExecutionPlan): readonly string[] {
  const modules = new Set<string>();
  for (const { def, wave } of tasks) {
    if (modules.size === importedAhead) break;
    if (wave > 0 && isModule(def.run)) modules.add(def.run.href);
  }
  return [...modules];
}

/** How many tasks of one wave, at most, run on threads. */
export function threadsWanted({ shape, tasks }: ExecutionPlan): number {
  const perWave = new Int32Array(shape.waveCount);
  for (const { def, wave } of tasks)
    if (isModule(def.run)) perWave[wave] = (perWave[wave] as number) + 1;
  return perWave.reduce((most, count) => Math.max(most, count), 0);
}
