/**
 * Messages between nodes: plain data, copied when it is sent. Each may be late, lost, doubled; they overtake each other; a
 * link may be cut in one direction.
 */
import { FabricError } from "@selvage/fabric";
import type { Kernel } from "./kernel.ts";
import { plainCopy } from "./plain-copy.ts";
import type { RandomStream } from "./random.ts";
import type { SimNode } from "./sim-node.ts";

/** How the network is at the moment. Rates are in thousandths of all messages. */
export interface Weather {
  /** Shortest and longest way of a message, in milliseconds. */
  readonly leastMs: number;
  readonly mostMs: number;
  readonly lostIn1000: number;
  readonly doubledIn1000: number;
  /** Messages that take up to `lateMs` more. */
  readonly lateIn1000: number;
  readonly lateMs: number;
}

/** Nothing is lost, and every message takes about a millisecond. */
export const FAIR_WEATHER: Weather = Object.freeze({
  leastMs: 0.2,
  mostMs: 2,
  lostIn1000: 0,
  doubledIn1000: 0,
  lateIn1000: 0,
  lateMs: 0,
});

/** How a cut link treats messages: lost, or kept until it is mended. */
export type CutMode = "drop" | "queue";

/** The network of one run. */
export class Network {
  readonly #kernel: Kernel;
  readonly #random: RandomStream;
  readonly #nodes = new Map<string, SimNode>();
  readonly #cuts = new Map<string, CutMode>();
  #held: { readonly from: string; readonly to: string; readonly message: unknown }[] = [];
  #weather: Weather = FAIR_WEATHER;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#random = kernel.random("network");
  }

  /** Adds a node. */
  join(node: SimNode): void {
    this.#nodes.set(node.name, node);
  }

  get weather(): Weather {
    return this.#weather;
  }

  /** Changes the weather, for messages that are sent from now on. */
  setWeather(weather: Partial<Weather>): void {
    this.#weather = { ...this.#weather, ...weather };
  }

  /** Cuts the way from one node to another; the way back stays. */
  cut(from: string, to: string, mode: CutMode): void {
    this.#cuts.set(linkOf(from, to), mode);
  }

  /** Mends it: what was kept goes on its way. */
  mend(from: string, to: string): void {
    if (!this.#cuts.delete(linkOf(from, to))) return;
    const due = this.#held.filter((held) => held.from === from && held.to === to);
    this.#held = this.#held.filter((held) => held.from !== from || held.to !== to);
    for (const held of due) this.#carry(held.from, held.to, held.message);
  }

  /** Mends all. */
  heal(): void {
    this.#weather = FAIR_WEATHER;
    for (const link of [...this.#cuts.keys()]) {
      const [from, to] = link.split(" > ") as [string, string];
      this.mend(from, to);
    }
  }

  /** @throws FabricError `NOT_FOUND`: there is no such node. `ENCODE`: not plain data. */
  send(sender: SimNode, to: string, message: unknown): void {
    if (!this.#nodes.has(to))
      throw new FabricError("NOT_FOUND", `Cannot send: no node is called ${to}`, { to });
    if (!sender.isUp) return;
    const copy = copyOf(message);
    const from = sender.name;
    this.#kernel.hash.value(copy);
    const cut = this.#cuts.get(linkOf(from, to));
    if (cut === "drop") return this.#lose(from, to);
    if (cut === "queue") {
      this.#held.push({ from, to, message: copy });
      return;
    }
    const { lostIn1000, doubledIn1000 } = this.#weather;
    if (this.#random.chance(lostIn1000, 1_000)) return this.#lose(from, to);
    this.#carry(from, to, copy);
    if (this.#random.chance(doubledIn1000, 1_000)) {
      this.#kernel.record(from, "message.doubled", { to });
      this.#carry(from, to, copyOf(message));
    }
  }

  #lose(from: string, to: string): void {
    this.#kernel.record(from, "message.lost", { to });
  }

  #carry(from: string, to: string, message: unknown): void {
    const { leastMs, mostMs, lateIn1000, lateMs } = this.#weather;
    let us = this.#random.between(Math.round(leastMs * 1_000), Math.round(mostMs * 1_000));
    if (this.#random.chance(lateIn1000, 1_000)) {
      us += this.#random.between(0, Math.round(lateMs * 1_000));
      this.#kernel.record(from, "message.late", { to });
    }
    // To whoever has the name when it arrives: a restarted node gets what was sent to the one before it.
    // Quiet, unless its listener is not.
    const arrive = (): void => {
      this.#kernel.arrived(from, to);
      this.#nodes.get(to)?.deliver(from, message);
    };
    this.#kernel.after(us, "message", arrive, true);
  }
}

function linkOf(from: string, to: string): string {
  return `${from} > ${to}`;
}

function copyOf(message: unknown): unknown {
  try {
    return plainCopy(message);
  } catch (thrown) {
    const what = "Cannot send: expected plain data that can be copied";
    throw new FabricError("ENCODE", what, {}, { cause: thrown });
  }
}
