/** An edge between two stages' threads, as their owner has it: its record, its rings' leases, and what its ends have told. */
import type { BlockLease } from "@selvage/fabric";
import { HandoffWriter, type Locator } from "@selvage/fence";
import type { EdgeEvent, EdgeRenewals, EdgeWriter, RelocationCause } from "@selvage/pipeline";
import { edgeHost, type EdgeHost } from "./edge-port.ts";
import type { Fabric } from "./fabric.ts";
import { HandoffReader } from "./handoff.ts";
import type { ProducerPlace } from "./stage-ends.ts";
import type { EdgeSide } from "./stage-messages.ts";
import type { ThreadEdgeResult } from "./stage-options.ts";

/** How the rings' leases are taken and kept. */
export interface LinkOptions {
  readonly leaseMs: number;
  readonly renewals: EdgeRenewals | undefined;
}

/** One edge. */
export class StageLink {
  readonly name: string;
  /** Publishes for whoever is the producer; what was published is known here. */
  readonly writer: EdgeWriter;
  readonly #fabric: Fabric;
  readonly #blocks: BlockLease;
  readonly #options: LinkOptions;
  // Rings that a producer has published and may not have given back.
  readonly #rings = new Map<string, Locator>();
  readonly #relocations: Partial<Record<RelocationCause, number>> = {};
  #rebinds = 0;
  #replayed = 0;
  #dropped = 0;
  #lost: number | "unknown" = 0;
  #stallMsMax = 0;

  constructor(name: string, fabric: Fabric, blocks: BlockLease, options: LinkOptions) {
    this.name = name;
    this.#fabric = fabric;
    this.#blocks = blocks;
    this.#options = options;
    const writer = new HandoffWriter(blocks, name);
    this.writer = {
      get generation() {
        return writer.generation;
      },
      publish: async (locator) => {
        const state = await writer.publish(locator);
        for (const [leaseId, ring] of this.#rings)
          if (this.#isOver(ring)) this.#rings.delete(leaseId);
        this.#rings.set(locator.leaseId, locator);
        return state;
      },
    };
  }

  /** What follows the record. */
  reader(): HandoffReader {
    return new HandoffReader(this.#blocks);
  }

  /** For a producer of this thread. */
  place(): ProducerPlace {
    const { leaseMs, renewals } = this.#options;
    return {
      writer: this.writer,
      renewals,
      acquire: (bytes) =>
        this.#fabric.mem().minBytes(bytes).leaseMs(leaseMs).label("edge").acquire(),
      resolve: (locator) => this.#fabric.leaseAt(locator),
    };
  }

  /** For an end on another thread. */
  host(side: EdgeSide): EdgeHost {
    const { leaseMs, renewals } = this.#options;
    const handoff = side === "producer" ? this.writer : this.reader();
    const kept = renewals === undefined ? {} : { renewals };
    return edgeHost(this.#fabric, handoff, { leaseMs, ...kept });
  }

  /**
   * Gives back the rings that a producer has left behind: its consumer waits for the next one's. @throws nothing: what is over
   * already needs none.
   */
  releaseRings(): void {
    for (const ring of this.#rings.values()) {
      try {
        this.#fabric.leaseAt({ ...ring, kind: "queue" }).release();
      } catch {
        // It has ended by itself.
      }
    }
    this.#rings.clear();
  }

  /** Takes down what an end tells. */
  hear(side: EdgeSide, event: EdgeEvent): void {
    if (event.type === "dropped") this.#dropped += event.count;
    if (event.type === "lost") {
      const { items } = event;
      if (items === "unknown" || this.#lost === "unknown") this.#lost = "unknown";
      else this.#lost += items.to - items.from;
    }
    if (event.type !== "relocated") return;
    this.#stallMsMax = Math.max(this.#stallMsMax, event.stallMs);
    if (side === "consumer") {
      this.#rebinds++;
      return;
    }
    const { cause } = event;
    this.#relocations[cause] = (this.#relocations[cause] ?? 0) + 1;
    this.#replayed += event.replayed;
  }

  /** What became of it. */
  result(): ThreadEdgeResult {
    return {
      name: this.name,
      generation: this.writer.generation,
      relocations: { ...this.#relocations },
      rebinds: this.#rebinds,
      replayed: this.#replayed,
      dropped: this.#dropped,
      lost: this.#lost,
      stallMsMax: this.#stallMsMax,
    };
  }

  #isOver(ring: Locator): boolean {
    try {
      return !this.#fabric.leaseAt({ ...ring, kind: "queue" }).isLive;
    } catch {
      return true;
    }
  }
}
