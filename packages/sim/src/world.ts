/** What a run consists of: nodes and what connects them, and the fabrics that they open. */
import {
  Executor,
  type ExecutionPlan,
  type ExecutionResult,
  type ExecutorOptions,
  type ExecutorPorts,
} from "@selvage/batch";
import {
  Fabric,
  invalidArgument,
  type FabricOptions,
  type FabricPorts,
  type Timer,
} from "@selvage/fabric";
import type { Kernel } from "./kernel.ts";
import { Network } from "./network.ts";
import type { RandomStream } from "./random.ts";
import { SimNode, type Program } from "./sim-node.ts";
import { inlineRunner } from "./inline-runner.ts";
import type { Detail } from "./trace.ts";

/** Fabric events between two looks at the accounts of a fabric whose accounts add up. */
const statsEvery = 32;

/** The nodes of a run. A program is simulated by being given this instead of a host. */
export class World {
  readonly kernel: Kernel;
  readonly network: Network;
  readonly #nodes = new Map<string, SimNode>();
  #fabrics = 0;

  constructor(kernel: Kernel) {
    this.kernel = kernel;
    this.network = new Network(kernel);
  }

  /** All nodes, by name. */
  get nodes(): ReadonlyMap<string, SimNode> {
    return this.#nodes;
  }

  /** Virtual milliseconds since the run began. */
  get nowMs(): number {
    return this.kernel.nowUs / 1_000;
  }

  /**
   * Adds a node, which starts when the run does. `program` is called at each start, and has only what the node gives it.
   * @throws FabricError `INVALID_ARGUMENT`: the name is taken, or holds what is no letter, digit, `-` or `_`.
   */
  node(name: string, program: Program = () => {}): SimNode {
    if (!/^[\w-]+$/.test(name) || this.#nodes.has(name))
      throw invalidArgument("name", "letters, digits, - and _, and each name once", name);
    const node = new SimNode(this.kernel, this.network, name, program);
    this.#nodes.set(name, node);
    this.network.join(node);
    return node;
  }

  /**
   * Opens a fabric on a node: the real one, on the node's clock, timers, randomness and disk, with `guard` on. It dies with
   * the node's incarnation; its block file does not. Every lease event and its accounts are recorded.
   * @throws FabricError as `Fabric.open`.
   */
  fabric(node: SimNode, options: FabricOptions = {}, ports: Partial<FabricPorts> = {}): Fabric {
    const name = `${node.name}#${++this.#fabrics}`;
    const fabric = Fabric.open(
      { memoryBytes: 1 << 16, blocks: 64, maxLeases: 1_024, tickMs: 50, guard: true, ...options },
      {
        clock: node.clock,
        timer: timerOf(node, options),
        random: node.random,
        memory: node.memory,
        disk: node.disk,
        threads: node.threads.owner,
        ...ports,
      },
    );
    let events = 0;
    // Leases of a block file outlive the fabric that granted them: for this one they begin when it finds them. What it
    // found ended was over before anybody listened.
    const known = new Set<string>();
    const keyOf = (leaseId: string): string => `${name}/${leaseId}`;
    for (const { leaseId, generation, kind, bytes, tenant } of fabric.leases()) {
      known.add(`${leaseId} ${generation}`);
      const details = { lease: keyOf(leaseId), generation, kind, bytes, tenant, isFound: true };
      node.record("lease.granted", details);
    }
    fabric.subscribe(({ type, leaseId, generation, kind, bytes, tenant }) => {
      const key = `${leaseId} ${generation}`;
      if (type === "granted") known.add(key);
      if (!known.has(key)) return;
      node.record(`lease.${type}`, { lease: keyOf(leaseId), generation, kind, bytes, tenant });
      this.#account(node, name, fabric, ++events % statsEvery === 1);
    });
    return fabric;
  }

  /** Runs a plan on a node, whose tasks all run here, module URLs too. The rest is as `Executor.run`. */
  execute(
    node: SimNode,
    plan: ExecutionPlan,
    options: ExecutorOptions & { readonly fabric: Fabric },
    ports: Partial<ExecutorPorts> = {},
  ): Promise<ExecutionResult> {
    return Executor.run(plan, options, {
      timer: node.timer,
      random: node.random,
      abortSource: () => new AbortController(),
      openFabric: () => this.fabric(node),
      openRunner: () => inlineRunner(node, node.threads, ports.codecs),
      ...ports,
    });
  }

  /** A stream of random numbers for the workload. */
  random(label: string): RandomStream {
    return this.kernel.random(`workload/${label}`);
  }

  /** Records something that happened outside of any node. */
  record(kind: string, details?: Readonly<Record<string, Detail>>): void {
    this.kernel.record("world", kind, details);
  }

  /** Resolves after so much virtual time, whatever becomes of any node. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.kernel.after(ms * 1_000, "world", resolve));
  }

  // A1 is looked at after every event, and told when it is broken, or now and then.
  #account(node: SimNode, name: string, fabric: Fabric, isDue: boolean): void {
    const stats = fabric.stats();
    for (const kind of ["memory", "blocks"] as const) {
      const { capacityBytes, leasedBytes, freeBytes, quarantinedBytes, fencedBytes } = stats[kind];
      const all = [leasedBytes, freeBytes, quarantinedBytes, fencedBytes];
      const isSound =
        all.every((bytes) => bytes >= 0) && all.reduce((a, b) => a + b, 0) === capacityBytes;
      if (isSound && !isDue) continue;
      node.record("fabric.stats", {
        fabric: name,
        kind,
        capacityBytes,
        leasedBytes,
        freeBytes,
        quarantinedBytes,
        fencedBytes,
      });
    }
  }
}

// A fabric's own ticks, the first that it asks for, wake nobody, or record what they do. By `fabric.timer` others wait (K2).
function timerOf(node: SimNode, { tick }: FabricOptions): Timer {
  const { timer } = node;
  let ticks = tick === "manual" ? timer : node.quietTimer;
  return {
    after: (delayMs, callback) => timer.after(delayMs, callback),
    every: (periodMs, callback) => {
      const stop = ticks.every(periodMs, callback);
      ticks = timer;
      return stop;
    },
  };
}
