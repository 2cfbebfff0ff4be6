/** Carries a fault plan out, and takes everything back when the run is to heal. */
import { invalidArgument } from "@selvage/fabric";
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
  // By what they wait for, in the plan's order.
  readonly #waiting = new Map<string, Fault[]>();

  constructor(kernel: Kernel, network: Network, nodes: ReadonlyMap<string, SimNode>) {
    this.#kernel = kernel;
    this.#network = network;
    this.#nodes = nodes;
  }

  /** Arms every fault of the plan. @throws FabricError `INVALID_ARGUMENT`: a fault names a node that there is not. */
  arm(plan: FaultPlan): void {
    for (const fault of plan) {
      this.#check(fault);
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
      node.disks.heal();
      node.resume("timers-first");
      node.start();
    }
    this.#kernel.record("world", "healed");
  }

  #check(fault: Fault): void {
    const names = "node" in fault ? [fault.node] : "from" in fault ? [fault.from, fault.to] : [];
    for (const name of names)
      if (!this.#nodes.has(name))
        throw invalidArgument("plan", `nodes among ${[...this.#nodes.keys()].join(", ")}`, name);
  }

  #strike(fault: Fault): void {
    if (this.#isOver) return;
    const { at: _at, kind, ...details } = fault;
    if (this.#done(fault))
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
      for (const [from, to] of links)
        network.cut(from, to, fault.kind === "cut" ? fault.mode : "drop");
      this.#later(forMs, () => {
        for (const [from, to] of links) network.mend(from, to);
      });
      return true;
    }
    const [weather, fair] = weatherOf(fault);
    network.setWeather(weather);
    this.#later(forMs, () => network.setWeather(fair));
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
    this.#later(fault.forMs, () => node.resume(order));
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
      this.#later(fault.forMs, () => node.driftClock(0));
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
        this.#later(fault.forMs, () => disks.setCondition({ slowMs: 0.3 }));
        return true;
      case "diskFull":
        disks.setCondition({ isFull: true });
        this.#later(fault.forMs, () => disks.setCondition({ isFull: false }));
        return true;
      case "shortIo":
        disks.setCondition({ isShort: true });
        this.#later(fault.forMs, () => disks.setCondition({ isShort: false }));
        return true;
      case "syncLie":
        disks.setCondition({ lies: true });
        this.#later(fault.forMs, () => disks.setCondition({ lies: false }));
        return true;
    }
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
