/** Carries a fault plan out, and takes everything back when the run is to heal. */
import type { Fault, FaultPlan } from "./faults.ts";
import type { Kernel } from "./kernel.ts";
import { FAIR_WEATHER, type Network, type Weather } from "./network.ts";
import type { SimNode } from "./sim-node.ts";

/** The faults of one run. */
export class Chaos {
  readonly #kernel: Kernel;
  readonly #network: Network;
  readonly #nodes: ReadonlyMap<string, SimNode>;
  #isOver = false;
  readonly #struck = new Set<Fault>();
  // How many faults that last hold each thing in a state that is not its own.
  readonly #holders = new Map<string, number>();
  // By what they wait for, in the plan's order.
  readonly #waiting = new Map<string, Fault[]>();

  constructor(kernel: Kernel, network: Network, nodes: ReadonlyMap<string, SimNode>) {
    this.#kernel = kernel;
    this.#network = network;
    this.#nodes = nodes;
  }

  /** Whether a fault has struck: its moment came, and it met something that it could change. */
  hasStruck(fault: Fault): boolean {
    return this.#struck.has(fault);
  }

  /** Arms every fault of the plan, whose nodes there are. */
  arm(plan: FaultPlan): void {
    for (const fault of plan) {
      const { at } = fault;
      if ("atMs" in at) this.#kernel.after(at.atMs * 1_000, "fault", () => this.#strike(fault));
      else {
        const list = this.#waiting.get(at.on);
        if (list === undefined) this.#waiting.set(at.on, [fault]);
        else list.push(fault);
      }
    }
    if (this.#waiting.size === 0) return;
    this.#kernel.observe(({ kind }) => {
      for (const fault of this.#waiting.get(kind) ?? []) {
        const { at } = fault;
        if ("on" in at && this.#kernel.count(kind) === at.nth)
          this.#kernel.interject(at.plus, () => this.#strike(fault));
      }
    });
  }

  /** No fault strikes any more; what is wrong is put right; who is down starts again. */
  heal(): void {
    this.#isOver = true;
    this.#network.heal();
    for (const node of this.#nodes.values()) {
      node.driftClock(0);
      node.freezeClock(0);
      node.disks.heal();
      node.resume("timers-first");
      node.start();
    }
    this.#kernel.record("world", "healed");
  }

  #strike(fault: Fault): void {
    if (this.#isOver) return;
    const { at: _at, kind, ...details } = fault;
    if (!this.#done(fault)) return;
    this.#struck.add(fault);
    this.#kernel.record("node" in fault ? fault.node : "world", `fault.${kind}`, details);
  }

  /** False where it meets nothing that it could change. */
  #done(fault: Fault): boolean {
    const node = "node" in fault ? (this.#nodes.get(fault.node) as SimNode) : undefined;
    switch (fault.kind) {
      case "loss":
      case "doubling":
      case "delay":
      case "cut":
      case "isolate":
        return this.#disturb(fault);
      case "crash":
      case "pause":
      case "suspend":
        return node?.isUp === true && this.#stop(node, fault);
      case "clockStep":
      case "clockDrift":
      case "clockFreeze":
        return node !== undefined && this.#misclock(node, fault);
      case "bitFlip":
      case "misdirect":
      case "syncError":
      case "ioError":
      case "diskSlow":
      case "diskFull":
      case "shortIo":
      case "syncLie":
        return node !== undefined && this.#spoil(node, fault);
    }
  }

  #disturb(fault: Extract<Fault, { kind: "loss" | "doubling" | "delay" | "cut" | "isolate" }>) {
    const { forMs } = fault;
    const network = this.#network;
    if (fault.kind === "cut" || fault.kind === "isolate") {
      const links = this.#linksOf(fault);
      for (const [from, to] of links) {
        network.cut(from, to, fault.kind === "cut" ? fault.mode : "drop");
        this.#hold(`cut ${from} > ${to}`, forMs, () => network.mend(from, to));
      }
      return true;
    }
    const [weather, fair] = weatherOf(fault);
    network.setWeather(weather);
    this.#hold(fault.kind, forMs, () => network.setWeather(fair));
    return true;
  }

  #linksOf(fault: Extract<Fault, { kind: "cut" | "isolate" }>): readonly [string, string][] {
    if (fault.kind === "cut") return [[fault.from, fault.to]];
    const { node, direction } = fault;
    const others = [...this.#nodes.keys()].filter((name) => name !== node);
    const out = others.map((other): [string, string] => [node, other]);
    const into = others.map((other): [string, string] => [other, node]);
    return [...(direction === "in" ? [] : out), ...(direction === "out" ? [] : into)];
  }

  #stop(node: SimNode, fault: Extract<Fault, { kind: "crash" | "pause" | "suspend" }>): boolean {
    if (fault.kind === "crash") {
      node.crash(fault.loses);
      this.#later(fault.forMs, () => node.start());
      return true;
    }
    if (node.isPaused) return false;
    node.pause();
    if (fault.kind === "suspend") node.freezeClock(fault.forMs);
    const order = fault.kind === "pause" ? fault.order : "timers-first";
    const { incarnation } = node;
    this.#later(fault.forMs, () => {
      // A process that has died meanwhile, and one that was paused since, are another's.
      if (node.incarnation === incarnation) node.resume(order);
    });
    return true;
  }

  #misclock(
    node: SimNode,
    fault: Extract<Fault, { kind: "clockStep" | "clockDrift" | "clockFreeze" }>,
  ): boolean {
    if (fault.kind === "clockStep") node.stepClock(fault.byMs);
    else if (fault.kind === "clockFreeze") node.freezeClock(fault.forMs);
    else {
      node.driftClock(fault.ppm);
      this.#hold(`drift ${node.name}`, fault.forMs, () => node.driftClock(0));
    }
    return true;
  }

  #spoil(
    node: SimNode,
    fault: Extract<
      Fault,
      | { kind: "diskSlow" | "diskFull" | "shortIo" | "syncLie" }
      | { kind: "syncError" | "ioError" | "bitFlip" | "misdirect" }
    >,
  ): boolean {
    const { disks } = node;
    const { condition } = disks;
    switch (fault.kind) {
      case "bitFlip":
        return disks.flip();
      case "misdirect":
        disks.setCondition({ misdirected: condition.misdirected + 1 });
        return true;
      case "syncError":
        disks.setCondition({ failedSyncs: condition.failedSyncs + fault.times });
        return true;
      case "ioError":
        disks.setCondition({ failedIos: condition.failedIos + fault.times });
        return true;
      case "diskSlow":
        disks.setCondition({ slowMs: fault.slowMs });
        this.#hold(`${fault.kind} ${node.name}`, fault.forMs, () =>
          disks.setCondition({ slowMs: 0.3 }),
        );
        return true;
      case "diskFull":
        disks.setCondition({ isFull: true });
        this.#hold(`${fault.kind} ${node.name}`, fault.forMs, () =>
          disks.setCondition({ isFull: false }),
        );
        return true;
      case "shortIo":
        disks.setCondition({ isShort: true });
        this.#hold(`${fault.kind} ${node.name}`, fault.forMs, () =>
          disks.setCondition({ isShort: false }),
        );
        return true;
      case "syncLie":
        disks.setCondition({ lies: true });
        this.#hold(`${fault.kind} ${node.name}`, fault.forMs, () =>
          disks.setCondition({ lies: false }),
        );
        return true;
    }
  }

  // Of several that hold one thing at a time, the last to end lets go: a short fault does not end a long one.
  #hold(what: string, ms: number, end: () => void): void {
    this.#holders.set(what, (this.#holders.get(what) ?? 0) + 1);
    this.#later(ms, () => {
      const left = (this.#holders.get(what) ?? 0) - 1;
      this.#holders.set(what, left);
      if (left === 0) end();
    });
  }

  #later(ms: number, run: () => void): void {
    this.#kernel.after(ms * 1_000, "fault.end", () => {
      if (!this.#isOver) run();
    });
  }
}

function weatherOf(
  fault: Extract<Fault, { kind: "loss" | "doubling" | "delay" }>,
): readonly [Partial<Weather>, Partial<Weather>] {
  const { lostIn1000, doubledIn1000, lateIn1000, lateMs } = FAIR_WEATHER;
  if (fault.kind === "loss") return [{ lostIn1000: fault.in1000 }, { lostIn1000 }];
  if (fault.kind === "doubling") return [{ doubledIn1000: fault.in1000 }, { doubledIn1000 }];
  return [
    { lateIn1000: fault.in1000, lateMs: fault.lateMs },
    { lateIn1000, lateMs },
  ];
}
