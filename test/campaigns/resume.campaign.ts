/**
 * Plans under a `runId`, on block files of nodes whose processes die, whose power fails, and whose disks are slow, short,
 * failing or wrong. Whoever comes next takes the run up: what has committed is not done again and is the same, what has not is,
 * and nothing is left behind.
 */
import {
  TaskGraph,
  type ExecutionEvent,
  type ExecutionPlan,
  type ExecutionResult,
  type TaskContext,
} from "@selvage/batch";
import { isFabricError, type Fabric } from "@selvage/fabric";
import {
  check,
  sometimes,
  SURVIVABLE,
  Violation,
  type Campaign,
  type Check,
  type FaultKind,
  type RandomStream,
  type Scenario,
  type SimNode,
  type World,
} from "@selvage/sim";
import { a1, a5, leaseChecks } from "./named.ts";
import { drawTasks, output, refsOf, tellingDisk, valuesOf, type Shape } from "./resume-shapes.ts";
import {
  Book,
  DiskHarm,
  gone,
  inOrder,
  once,
  oneRunner,
  same,
  told,
  type Made,
} from "./resume-book.ts";

/** What is run, and where. */
export interface Sizes {
  readonly tasks: readonly Shape[];
  readonly fillingMost: number;
  /** Outputs lie side by side in one lease, or, where there are fewer blocks than that takes, in one each. */
  readonly blocks: number;
  readonly checkpointTtlMs: number;
  readonly ttlMs: number;
  readonly spill: boolean;
  readonly tickMs: number;
  readonly diskMs: number;
  readonly beyond: readonly FaultKind[];
  /** Most bodies of a run that fail by themselves, and lives of it that are stopped. */
  readonly mischiefMost: number;
  /** After so many runs the node rests. */
  readonly runsMost: number;
}

const nodes = ["a"];
const live = "D2: once all is well runs are done";
const typed = "D2: a run that cannot go on says why, by a code that its documentation has";

/** Whoever has so long is taken up in time, whatever befalls its process. */
const lastingMs = 60_000;

function sizesOf(random: RandomStream): Sizes {
  const mood = random.below(8);
  return {
    tasks: drawTasks(random),
    fillingMost: random.spread(1, 1_200),
    blocks: random.pick([1_024, 1_024, 3_072]),
    checkpointTtlMs: random.chance(1, 4) ? random.spread(500, 4_000) : lastingMs,
    ttlMs: random.spread(300, 3_000),
    spill: random.chance(1, 3),
    tickMs: random.spread(50, 500),
    diskMs: random.spread(1, 100),
    beyond:
      mood === 0 ? ["bitFlip", "bitFlip", "bitFlip"] : mood === 1 ? ["syncLie", "misdirect"] : [],
    mischiefMost: 40,
    runsMost: Infinity,
  };
}

/** Codes of a run that was refused, or of an attempt that failed, on a disk that gives what it was given. */
const codes: ReadonlySet<string> = new Set([
  "STORE_UNAVAILABLE",
  "CAPACITY_EXCEEDED",
  "LEASE_EXPIRED",
  "REVOKED",
  "DISCONNECTED",
  "TIMED_OUT",
]);

/** One life of one run: from when it is taken up until it has ended, or its process has. */
class Life {
  readonly #node: SimNode;
  readonly #world: World;
  readonly #fabric: Fabric;
  readonly #book: Book;
  readonly #sizes: Sizes;
  readonly #harm: DiskHarm;
  // By task and attempt: what its body made.
  readonly #nonces = new Map<string, number>();
  readonly #rivals: Promise<void>[] = [];
  // Bodies go on after a run that was stopped: what they do then is nobody's.
  #isOver = false;
  /** Whether the store has failed: nothing more can be done until it is opened anew. */
  isStoreOver = false;

  constructor(node: SimNode, world: World, fabric: Fabric, book: Book, held: Held) {
    this.#node = node;
    this.#world = world;
    this.#fabric = fabric;
    this.#book = book;
    this.#sizes = held.sizes;
    this.#harm = held.harm;
  }

  /** Takes the run up, and runs it as far as it gets. Gives whether it has succeeded. */
  async run(): Promise<boolean> {
    const { random } = this.#node;
    if (this.#book.mustResume(this.#fabric.nowMs()) && random.chance(1, 8))
      await this.#tryAnother();
    const cancel = new AbortController();
    const closes = random.chance(1, 3);
    let stop: (() => void) | undefined;
    if (random.chance(1, 4) && this.#mayFail())
      stop = this.#node.timer.after(random.spread(1, 1_000), () => {
        cancel.abort();
        if (closes) this.#close();
      });
    this.#book.opens(this.#fabric.nowMs(), this.#fabric.blockDamage().length > 0);
    try {
      const result = await this.#execute(this.#plan(), cancel.signal);
      this.#isOver = true;
      stop?.();
      await Promise.all(this.#rivals);
      this.#check(result);
      sometimes(`a run under an id ended as ${result.status}`);
      return result.status === "succeeded";
    } catch (thrown) {
      this.#isOver = true;
      stop?.();
      await Promise.all(this.#rivals);
      this.#refused(thrown);
      return false;
    }
  }

  // Once all is well it is left so: what is to be done then has time for one run that is as slow as any.
  #mayFail(): boolean {
    return this.#world.nowMs <= chaosEndsMs && this.#book.mayFail();
  }

  // Whoever closes a fabric under a run tells the run, too.
  #close(): void {
    this.isStoreOver = true;
    this.#fabric[Symbol.dispose]();
  }

  #execute(plan: ExecutionPlan, signal: AbortSignal): Promise<ExecutionResult> {
    const { random } = this.#node;
    const sizes = this.#sizes;
    return this.#world.execute(this.#node, plan, {
      fabric: this.#fabric,
      runId: this.#book.runId,
      checkpointTtlMs: sizes.checkpointTtlMs,
      ttlMs: sizes.ttlMs,
      spill: sizes.spill,
      keep: sizes.tasks.map(({ name }) => output(name)),
      teardown: random.pick(["expiry", "eager"]),
      schedule: random.pick(["waves", "ready"]),
      maxConcurrency: random.between(1, 4),
      failFast: random.chance(1, 5),
      graceMs: random.pick([1, 50, 1_000]),
      signal,
      ...(random.chance(1, 8) && this.#mayFail() && { timeoutMs: random.spread(50, 3_000) }),
      onEvent: (event) => this.#hears(event),
    });
  }

  #hears(event: ExecutionEvent): void {
    this.#node.record("run.event", { type: event.type });
    if (event.type === "resume") {
      this.#book.finds(event.state, event.name, event.error);
      this.#node.record(`resume.${event.state}`, { task: event.name ?? "" });
    }
    if (event.type === "settled") {
      this.#node.record("resume.settled", { status: event.status });
      if (event.status === "succeeded") this.#book.settles();
    }
    if (event.type !== "task") return;
    const { name, newState, attempt, error } = event;
    this.#node.record(`task.${newState}`, { task: name, attempt });
    if (newState === "succeeded") {
      const nonce = attempt === 0 ? undefined : this.#nonces.get(`${name} ${attempt}`);
      this.#book.commits(name, nonce, this.#standsUntilMs());
    }
    if (isFabricError(error)) this.#failed(error.code, `${name}: ${error.message}`);
  }

  // What is renewed is durable a little later: until then the disk has the deadline before.
  #standsUntilMs(): number {
    const until = this.#leasesOf(this.#book.runId).map(({ expiresAtMs }) => expiresAtMs);
    // Who stood still for longer than a short TTL has none left when it is told.
    return until.length === 0 ? -Infinity : Math.min(...until) - this.#sizes.checkpointTtlMs / 2;
  }

  #leasesOf(runId: string): ReturnType<Fabric["leases"]> {
    return this.#fabric.leases().filter(({ label }) => label.endsWith(`/${runId}`));
  }

  #failed(code: string, message: string): void {
    if (code === "STORE_UNAVAILABLE" || code === "DISCONNECTED") this.isStoreOver = true;
    if (codes.has(code) || this.#harm.of(this.#node.name) !== "none") return;
    throw new Violation(typed, `${code}: ${message}`);
  }

  #refused(thrown: unknown): void {
    if (!isFabricError(thrown)) throw thrown;
    sometimes(`a run under an id was refused: ${thrown.code}`);
    this.#failed(thrown.code, thrown.message);
    this.#book.refuses(thrown.code, thrown.message);
    this.#node.record("run.refused", { code: thrown.code });
  }

  #check(result: ExecutionResult): void {
    this.#node.record("run.ended", { status: result.status });
    const outputs = new Map<string, Made>();
    for (const { name } of this.#sizes.tasks) {
      const made = this.#kept(result, name);
      if (made !== undefined) outputs.set(name, made);
    }
    for (const [task, made] of outputs) this.#book.reads(task, made);
    if (outputs.size < this.#sizes.tasks.length) return;
    const before = new Map(this.#sizes.tasks.map((one) => [one.name, one.before]));
    this.#book.checkWhole(outputs, (task) => before.get(task) ?? []);
    sometimes("all that a run made was the same");
  }

  #kept(result: ExecutionResult, task: string): Made | undefined {
    try {
      using kept = result.keep(output(task));
      return kept.read<Made>();
    } catch (thrown) {
      if (!isFabricError(thrown)) throw thrown;
      // Its task has not succeeded; or whoever stands still for longer than its TTL finds no lease.
      if (thrown.code !== "NOT_FOUND") this.#failed(thrown.code, thrown.message);
      return undefined;
    }
  }

  #plan(): ExecutionPlan {
    const { random } = this.#node;
    return this.#planOf(({ before, outputs }) => ({
      retries: random.below(3),
      backoff: { baseMs: random.spread(1, 100) },
      ...(random.chance(1, 6) && this.#mayFail() && { timeoutMs: random.spread(20, 500) }),
      run: (context: TaskContext) => this.#body(context, before, outputs),
    }));
  }

  #planOf(
    of: (shape: Shape) => Omit<Parameters<TaskGraph["addTask"]>[0], "name" | "inputs" | "outputs">,
    more: readonly Shape[] = [],
  ): ExecutionPlan {
    const graph = new TaskGraph();
    const tasks = [...this.#sizes.tasks, ...more];
    const ids = new Map<string, ReturnType<TaskGraph["addTask"]>>();
    for (const shape of tasks) {
      const { name, before } = shape;
      const inputs = before.flatMap((one) =>
        refsOf(tasks.find((task) => task.name === one) as Shape),
      );
      const id = graph.addTask({ name, inputs, outputs: refsOf(shape), ...of(shape) });
      for (const one of before) graph.addDependency(ids.get(one) as never, id);
      ids.set(name, id);
    }
    return graph.build();
  }

  async #body(
    context: TaskContext,
    before: readonly string[],
    outputs: number,
  ): Promise<Record<string, Made>> {
    const { random } = this.#node;
    const { task, attempt } = context;
    try {
      this.#book.begins(task);
      this.#read(context, before);
      if (random.chance(1, 12)) this.#rivals.push(this.#tryBeside());
      await this.#node.sleep(random.spread(1, 600));
      if (this.#isOver) throw new Error(`${task} is over`);
      if (random.chance(1, 8) && this.#mayFail()) throw new Error(`${task} failed`);
      const of = this.#read(context, before);
      const made = this.#book.makes(task, of, "x".repeat(random.below(this.#sizes.fillingMost)));
      this.#nonces.set(`${task} ${attempt}`, made.nonce);
      this.#node.record("task.made", { task, nonce: made.nonce });
      const few = { ...made, filling: "" };
      return Object.fromEntries(
        Array.from({ length: outputs }, (_, at) => [output(task, at), at === 0 ? made : few]),
      );
    } catch (thrown) {
      // Thrown here it would be one more failure of the task.
      if (thrown instanceof Violation) this.#node.kernel.fail(thrown);
      throw thrown;
    }
  }

  #read(context: TaskContext, before: readonly string[]): Made[] {
    return before.map((task) => {
      const found = context.input<Made>(output(task));
      this.#book.reads(task, found);
      const { outputs } = this.#sizes.tasks.find(({ name }) => name === task) as Shape;
      for (let at = 1; at < outputs; at++) {
        const other = context.input<Made>(output(task, at));
        if (other.nonce !== found.nonce)
          throw new Violation(same, `${task}: outputs of ${found.nonce} and of ${other.nonce}`);
      }
      return found;
    });
  }

  // Another one under the same id, while this one is at work.
  async #tryBeside(): Promise<void> {
    await this.#expectConflict(
      "runner",
      this.#planOf(() => ({ run: this.#never })),
    );
  }

  // The same id, with a task more.
  async #tryAnother(): Promise<void> {
    const more = [{ name: "more", before: [], outputs: 1 }];
    await this.#expectConflict(
      "plan",
      this.#planOf(() => ({ run: this.#never }), more),
    );
  }

  readonly #never = (context: TaskContext): never => {
    const violation = new Violation(oneRunner, `${context.task} runs that must not`);
    this.#node.kernel.fail(violation);
    throw violation;
  };

  async #expectConflict(kind: string, plan: ExecutionPlan): Promise<void> {
    const { runId } = this.#book;
    const { checkpointTtlMs } = this.#sizes;
    const fabric = this.#fabric;
    try {
      await this.#world.execute(this.#node, plan, { fabric, runId, checkpointTtlMs });
    } catch (thrown) {
      if (!isFabricError(thrown)) throw thrown;
      const isRefused = thrown.code === "CONFLICT" && thrown.details["kind"] === kind;
      sometimes(`a run was refused for the ${kind} of its id`, isRefused);
      // Where the store is over neither is anything done.
      if (!isRefused) this.#failed(thrown.code, thrown.message);
      return;
    }
    this.#node.kernel.fail(new Violation(oneRunner, `${runId} began with another ${kind}`));
  }
}

/** What lasts beyond a process. */
interface Held {
  readonly sizes: Sizes;
  readonly harm: DiskHarm;
  readonly book: Book;
  /** Runs that have succeeded, and by when nothing of them stands any more. */
  readonly done: Map<string, number>;
  /** How many those are. */
  runs: number;
}

const lookMs = 200;

/** Faults have been removed by then. */
const chaosEndsMs = 31_000;

/** One process: opens its file, and runs what is to be done, for as long as the store lets it. */
async function serve(world: World, node: SimNode, fabric: Fabric, held: Held): Promise<void> {
  const { book, sizes, done } = held;
  const { random } = node;
  while (held.runs < sizes.runsMost) {
    const life = new Life(node, world, fabric, book, held);
    const isDone = await life.run();
    if (isDone) {
      const { runId } = book;
      // Where the store was closed before it was cleared, the same id would find it again.
      book.next(random.chance(1, 3) && !life.isStoreOver);
      if (book.runId !== runId) done.set(runId, fabric.nowMs() + sizes.checkpointTtlMs);
      held.runs++;
      node.record("resume.done", { run: runId });
      if (!life.isStoreOver) await checkGone(node, fabric, held, runId);
    }
    if (life.isStoreOver || (!isDone && random.chance(1, 2))) return;
    await node.sleep(isDone ? random.spread(100, 6_000) : random.spread(1, 1_000));
  }
}

// What is given back is back at once, but for the time of a disk, and of the leases that say when they end.
async function checkGone(node: SimNode, fabric: Fabric, held: Held, runId: string): Promise<void> {
  const { harm, done } = held;
  const failures = harm.failures(node.name);
  for (let looks = 1; ; looks++) {
    const blocks = fabric.leases().filter(({ kind }) => kind === "block");
    const bytes = blocks.reduce((sum, lease) => sum + lease.bytes, 0);
    const left = blocks.filter(({ label }) => label.endsWith(`/${runId}`));
    const { leasedBytes, quarantinedBytes, fencedBytes } = fabric.stats().blocks;
    // Of a process that died stands what it had leased for others, until its TTL.
    const isBack = leasedBytes === bytes && quarantinedBytes === 0 && left.length === 0;
    if (isBack && blocks.length === 0) sometimes("all blocks were back after a run");
    for (const { label, isLive } of blocks) {
      const byMs = done.get(label.slice(label.indexOf("/") + 1)) ?? Infinity;
      if (isLive && fabric.nowMs() > byMs) throw new Violation(gone, `${label} stands`);
    }
    if (isBack || harm.failures(node.name) !== failures || harm.of(node.name) !== "none") return;
    if (looks > 100)
      throw new Violation(
        gone,
        `${left.map(({ label }) => label).join()}: ${JSON.stringify({ leasedBytes, quarantinedBytes, fencedBytes })}`,
      );
    await node.sleep(lookMs);
  }
}

async function program(node: SimNode, world: World, held: Held): Promise<void> {
  const { sizes, harm } = held;
  const { blocks, tickMs, spill } = sizes;
  node.disks.setCondition({ slowMs: sizes.diskMs });
  while (held.runs < sizes.runsMost) {
    try {
      // One for each output in the checkpoint, and one for each that is spilled.
      const many = sizes.tasks.reduce((sum, { outputs }) => sum + outputs, 0) > 48;
      const blockLeases = many ? 512 : 128;
      const shape = { memoryBytes: spill ? 32_768 : 131_072, blocks, blockLeases, tickMs };
      const options = { ...shape, maxLeases: 512, blockFile: "blocks" };
      const fabric = world.fabric(node, options, { disk: tellingDisk(node) });
      try {
        await serve(world, node, fabric, held);
      } finally {
        await fabric.close();
      }
    } catch (thrown) {
      if (!isFabricError(thrown)) throw thrown;
      if (thrown.code === "CORRUPT_RECORD" && harm.of(node.name) !== "none") {
        // What is refused stays as it is: its owner has to decide.
        return;
      }
      if (!codes.has(thrown.code)) throw new Violation(typed, `${thrown.code}: ${thrown.message}`);
    }
    await node.sleep(100);
  }
}

function doneAgain(node: string, harm: DiskHarm): Check {
  const { name, end } = check.eventually("resume.done", 28_000, {
    where: (occurrence) => occurrence.node === node,
    name: live,
  });
  return { name, end: (run) => (harm.of(node) === "none" ? end?.(run) : undefined) };
}

const counted = [
  "a committed output was found by the next life",
  "an output was found that nobody was told of",
  "damage was told",
  "a checkpoint may have run out before it was taken up",
  "a run was refused for the runner of its id",
  "a run was refused for the plan of its id",
  "a run under an id ended as succeeded",
  "a run under an id ended as failed",
  "a run under an id ended as cancelled",
  "a run under an id ended as timedOut",
  "a run under an id was refused: STORE_UNAVAILABLE",
  "all that a run made was the same",
  "all blocks were back after a run",
];

/** The scenario: one node, and its disk. */
export function scenarioOf(sizes: Sizes): Scenario {
  const harm = new DiskHarm();
  const isLasting = sizes.checkpointTtlMs >= lastingMs;
  const values = valuesOf(sizes.tasks);
  return {
    world(world) {
      for (const name of nodes) {
        const book = new Book(name, harm, { ...sizes, values, isLasting });
        const held: Held = { sizes, harm, book, done: new Map(), runs: 0 };
        world.node(name, (node) => program(node, world, held));
      }
    },
    invariants: [harm.watch, ...leaseChecks()],
    finally: nodes.map((name) => doneAgain(name, harm)),
  };
}

/** See above. */
export const share = 1;

/** See above. */
export const campaign: Campaign = {
  name: "resume",
  swarm(random) {
    const { beyond } = sizesOf(random);
    const disk: readonly FaultKind[] = ["diskSlow", "diskFull", "shortIo", "syncError", "ioError"];
    return {
      nodes,
      kinds: [
        ...disk.filter((kind) => SURVIVABLE.has(kind)),
        "pause",
        "crash",
        "crash",
        "crash",
        ...beyond,
      ],
      moments: [
        "task.running",
        "task.made",
        "task.succeeded",
        "disk.synced",
        "disk.writing",
        "disk.writing",
        "disk.writing",
        "lease.granted",
        "resume.restored",
        "resume.settled",
        "run.ended",
        "node.started",
      ],
      longestMs: 2_000,
    };
  },
  scenario: (random) => scenarioOf(sizesOf(random)),
  properties: [a1, a5, once, same, inOrder, told, oneRunner, gone, typed, live],
  sometimes: counted,
};
