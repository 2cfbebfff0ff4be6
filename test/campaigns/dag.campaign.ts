/**
 * Plans on nodes that crash and stand still: random DAGs whose tasks fail, are slow, are tried again, and make other bytes
 * at every attempt, so that whoever reads must have got exactly the bytes of the attempt that was committed.
 */
import {
  TaskGraph,
  type ExecutionEvent,
  type ExecutionPlan,
  type ExecutionResult,
  type TaskContext,
  type TaskDef,
} from "@selvage/batch";
import { isFabricError, type Fabric } from "@selvage/fabric";
import {
  check,
  sometimes,
  Violation,
  type Campaign,
  type RandomStream,
  type SimNode,
  type World,
} from "@selvage/sim";
import { stampOf } from "./dag-body.ts";
import { a1, a5, leaseChecks } from "./named.ts";

interface Sizes {
  readonly nodes: readonly string[];
  readonly tasks: number;
  readonly ttlMs: number;
  readonly memoryBytes: number;
}

function sizesOf(random: RandomStream): Sizes {
  return {
    nodes: ["a", "b", "c", "d"].slice(0, random.between(3, 4)),
    tasks: random.between(2, 9),
    ttlMs: random.spread(200, 3_000),
    memoryBytes: 4_096 * random.spread(4, 64),
  };
}

const startsAfter = "D1: a task starts after its inputs are committed, and reads exactly those";
const stands = "D1: what is committed stands, and is kept until its readers have ended";
const endsOnce = "D1: every task ends, once";
const afterAll = "D1: a task starts after every task before it has succeeded";
const skips = "D3: a failure skips what depends on it, and that names it";
const withinSlots =
  "D3: no more bodies are at work than there are slots, nor than there are units of what they use";
const live = "D1: once all is well plans are run to their end again";

/** Faults under which a lease may run out under a task that is at work. */
const slowing = ["pause", "suspend", "clockStep", "clockDrift", "clockFreeze"] as const;
/** Whoever is given so long is not given up for being silent: no body takes half of it. */
const patientMs = 3_000;

const module = new URL("./dag-body.ts", import.meta.url);
const raw = (name: string) => ({ name, format: "raw" }) as const;

/** What a run is held to. */
interface Limits {
  readonly stallMs: number;
  readonly maxConcurrency: number;
  readonly few: number;
}

/** One run of one plan, as its tasks and its events tell it. */
class Run {
  readonly plan: ExecutionPlan;
  readonly #node: SimNode;
  /** By task: the attempt whose outputs were committed. */
  readonly #committed = new Map<string, number>();
  readonly #inputs = new Map<string, readonly string[]>();
  readonly #ended = new Map<string, string>();
  readonly #causes = new Map<string, string | undefined>();
  /** Tasks whose bodies are at work, and those of them that use the one thing of which there are few. */
  readonly #atWork = new Map<string, boolean>();
  readonly #fabric: Fabric;
  readonly #limits: Limits;
  readonly #uses = new Set<string>();

  constructor(node: SimNode, fabric: Fabric, sizes: Sizes, limits: Limits) {
    this.#node = node;
    this.#fabric = fabric;
    this.#limits = limits;
    const { random } = node;
    const graph = new TaskGraph();
    const ids: ReturnType<TaskGraph["addTask"]>[] = [];
    for (let index = 0; index < sizes.tasks; index++) {
      const name = `t${index}`;
      const inputs = [...Array(index).keys()]
        .filter(() => random.chance(1, Math.max(2, index >> 1)))
        .map((at) => `t${at}`);
      this.#inputs.set(name, inputs);
      ids.push(graph.addTask(this.#task(name, inputs)));
      for (const input of inputs)
        graph.addDependency(ids[Number(input.slice(1))] as never, ids[index] as never);
    }
    this.plan = graph.build();
  }

  /** What this run's watcher is told. */
  readonly onEvent = (event: ExecutionEvent): void => {
    if (event.type !== "task") return;
    const { name, newState, attempt } = event;
    this.#node.record(`task.${newState}`, { task: name, attempt });
    if (newState === "running")
      for (const input of this.#inputs.get(name) ?? []) {
        if (this.#ended.get(input) !== "succeeded")
          throw new Violation(afterAll, `${name} started, and ${input} had not succeeded`);
        if (!this.#committed.has(input))
          throw new Violation(startsAfter, `${name} started before ${input} ended`);
      }
    if (newState === "succeeded") {
      this.#committed.set(name, attempt);
      this.#checkStands(name);
    }
    if (newState === "waiting" || newState === "failed") this.#checkKept(name, event.error);
    const isOver = !["pending", "ready", "running", "waiting"].includes(newState);
    if (!isOver) return;
    if (this.#ended.has(name)) throw new Violation(endsOnce, `${name} ended twice: ${newState}`);
    this.#ended.set(name, newState);
    this.#causes.set(name, event.because);
    sometimes("an attempt was late", newState === "timedOut");
  };

  // Late results: the work of an attempt whose lease has ended does not count.
  #checkStands(name: string): void {
    // Without anybody who will read it, it is let go at once.
    const isRead = [...this.#inputs].some(
      ([reader, inputs]) => inputs.includes(name) && !this.#ended.has(reader),
    );
    if (!isRead) return;
    const label = `${name}/out-${name}`;
    const nowMs = this.#node.clock.nowMs();
    const isThere = this.#fabric
      .leases()
      .some((lease) => lease.label === label && lease.isLive && nowMs < lease.expiresAtMs);
    if (!isThere) throw new Violation(stands, `${name}'s lease had ended`);
  }

  // Nobody was away, nobody was silent for long: then what a task reads is there until it has ended.
  #checkKept(name: string, error: unknown): void {
    if (!isFabricError(error) || error.code !== "LEASE_EXPIRED") return;
    sometimes("an attempt lost a lease");
    const { kernel } = this.#node;
    const isCalm = slowing.every((kind) => kernel.count(`fault.${kind}`) === 0);
    if (isCalm && this.#limits.stallMs >= patientMs)
      throw new Violation(stands, `not while it is read: ${name}: ${error.message}`);
  }

  /** Every task has ended, once, and what depends on a failure has not run. */
  check({ status }: ExecutionResult): void {
    sometimes("a run succeeded", status === "succeeded");
    sometimes("a run failed", status === "failed");
    if (this.#ended.size !== this.#inputs.size)
      throw new Violation(endsOnce, `${this.#ended.size} of ${this.#inputs.size}`);
    for (const [name, inputs] of this.#inputs) {
      const ended = this.#ended.get(name) ?? "";
      const bad = inputs.filter((input) => this.#ended.get(input) !== "succeeded");
      if (bad.length > 0 && ended !== "skipped" && ended !== "cancelled")
        throw new Violation(skips, `${name} ${ended}, but ${bad.join()} did not succeed`);
      if (ended !== "skipped") continue;
      const because = this.#causes.get(name) ?? "";
      if (!["failed", "timedOut"].includes(this.#ended.get(because) ?? ""))
        throw new Violation(skips, `${name} was skipped because of ${because || "nobody"}`);
    }
    const skipped = [...this.#ended.values()].filter((state) => state === "skipped").length;
    sometimes("a task was skipped", skipped > 0);
  }

  /** Whether any task of the plan uses what there is few of. */
  get usesFew(): boolean {
    return this.#uses.size > 0;
  }

  #task(name: string, inputs: readonly string[]): TaskDef {
    const { random } = this.#node;
    const base = {
      name,
      inputs: inputs.map((input) => raw(`out-${input}`)),
      retries: random.below(4),
      backoff: { baseMs: random.spread(1, 100) },
      ...(random.chance(1, 4) && { timeoutMs: random.spread(20, 500) }),
      ...(random.chance(1, 3) && { uses: ["few"] }),
    };
    if (base.uses !== undefined) this.#uses.add(name);
    const outputs = [raw(`out-${name}`)];
    if (inputs.length === 0 && random.chance(1, 3)) return { ...base, outputs, run: module };
    const run: (context: TaskContext) => Promise<Record<string, Uint8Array> | void> =
      inputs.length === 0 ? this.#slow(name) : this.#body(name, inputs);
    return { ...base, outputs, run: (context) => this.#counted(name, () => run(context)) };
  }

  // Bodies do not listen to their signals: one whose time is up goes on, and its slot is not another's.
  async #counted<T>(name: string, body: () => Promise<T>): Promise<T> {
    const { maxConcurrency, few } = this.#limits;
    const isTwice = this.#atWork.has(name);
    this.#atWork.set(name, this.#uses.has(name));
    const users = [...this.#atWork.values()].filter(Boolean).length;
    if (isTwice || this.#atWork.size > maxConcurrency || users > few)
      this.#node.kernel.fail(
        new Violation(
          withinSlots,
          `${[...this.#atWork.keys()].join()} with ${maxConcurrency} slots`,
        ),
      );
    try {
      return await body();
    } finally {
      this.#atWork.delete(name);
    }
  }

  #body(name: string, inputs: readonly string[]) {
    return async (context: TaskContext): Promise<void> => {
      const { random } = this.#node;
      if (random.chance(1, 6)) throw new Error(`${name} failed`);
      this.#read(context, inputs);
      await this.#node.sleep(random.spread(1, 150));
      context.progress(0.5);
      // A lease that was lost meanwhile is no reason to read another's bytes.
      this.#read(context, inputs);
      if (random.chance(1, 10)) throw new Error(`${name} failed late`);
      context.allocate(`out-${name}`, 64).fill(stampOf(name, context.attempt));
      sometimes("a later attempt was committed", context.attempt > 1);
    };
  }

  #slow(name: string) {
    return async (context: TaskContext): Promise<Record<string, Uint8Array>> => {
      await this.#node.sleep(this.#node.random.spread(50, 1_000));
      return { [`out-${name}`]: new Uint8Array(64).fill(stampOf(name, context.attempt)) };
    };
  }

  #read(context: TaskContext, inputs: readonly string[]): void {
    for (const input of inputs) {
      const bytes = context.input(`out-${input}`);
      const wanted = stampOf(input, this.#committed.get(input) ?? 0);
      if (bytes.length < 64 || bytes.subarray(0, 64).some((byte) => byte !== wanted))
        // Thrown here it would be one more failure of the task.
        this.#node.kernel.fail(
          new Violation(
            startsAfter,
            `${context.task} read ${bytes[0]} of ${input}, which committed ${wanted}`,
          ),
        );
    }
  }
}

async function program(node: SimNode, world: World, sizes: Sizes): Promise<void> {
  const { random } = node;
  const fabric: Fabric = world.fabric(node, { memoryBytes: sizes.memoryBytes, tickMs: 50 });
  for (;;) {
    const stallMs = random.spread(100, 30_000);
    const maxConcurrency = random.between(1, 5);
    const few = random.between(1, 2);
    const run = new Run(node, fabric, sizes, { stallMs, maxConcurrency, few });
    const cancel = new AbortController();
    if (random.chance(1, 6)) node.timer.after(random.spread(1, 300), () => cancel.abort());
    try {
      const result = await world.execute(node, run.plan, {
        fabric,
        ttlMs: sizes.ttlMs,
        teardown: random.pick(["expiry", "eager"]),
        signal: cancel.signal,
        graceMs: random.pick([200, 2_000]),
        stallMs,
        schedule: random.pick(["waves", "ready"]),
        failFast: random.chance(1, 5),
        maxConcurrency,
        ...(run.usesFew && { limits: { few } }),
        ...(random.chance(1, 6) && { timeoutMs: random.spread(100, 3_000) }),
        onEvent: run.onEvent,
      });
      run.check(result);
      const { status } = result;
      sometimes("a run was late", status === "timedOut");
      sometimes("a run was cancelled", status === "cancelled");
      node.record("run.ended", { status });
    } catch (thrown) {
      if (!isFabricError(thrown)) throw thrown;
      sometimes(`a run was refused: ${thrown.code}`);
    }
    await node.sleep(random.spread(1_000, 12_000));
  }
}

/** A seed is soon done. */
export const share = 4;

/** See above. */
export const campaign: Campaign = {
  name: "dag",
  swarm: (random) => ({
    nodes: sizesOf(random).nodes,
    kinds: ["crash", "pause", "suspend", "clockStep", "clockDrift", "clockFreeze", "isolate"],
    moments: ["task.running", "task.succeeded", "task.waiting", "lease.granted", "run.ended"],
  }),
  scenario(random) {
    const sizes = sizesOf(random);
    return {
      world(world) {
        for (const name of sizes.nodes) world.node(name, (node) => program(node, world, sizes));
      },
      invariants: leaseChecks(),
      finally: [check.eventually("run.ended", 20_000, { name: live })],
    };
  },
  properties: [a1, a5, startsAfter, stands, endsOnce, afterAll, skips, withinSlots, live],
  sometimes: [
    "a run succeeded",
    "a run failed",
    "a run was cancelled",
    "a task was skipped",
    "a later attempt was committed",
    "an attempt lost a lease",
    "an attempt was late",
    "a run was late",
  ],
};
