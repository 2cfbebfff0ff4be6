/* oxlint-disable vitest/no-standalone-expect -- called from inside tests only */
import type { BlockLease, BlockTicket } from "@selvage/fabric";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { imbalances, VirtualHost } from "./rig.ts";
import { bytesOf, filled, openSim, quiet, type SimDisk } from "./sim-disk.ts";

/** What was acknowledged of one lease. */
interface Promised {
  readonly ticket: BlockTicket;
  readonly blocks: number;
  deadlineMs: number;
  /** The byte it is full of. */
  byte: number;
  isOver: boolean;
}

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("acquire" as const),
      blocks: fc.integer({ min: 1, max: 5 }),
      ttlMs: fc.integer({ min: 1, max: 500 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("write" as const),
      which: fc.nat(),
      byte: fc.integer({ min: 1, max: 255 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("renew" as const),
      which: fc.nat(),
      ttlMs: fc.integer({ min: 1, max: 900 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("release" as const), which: fc.nat() }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("pass" as const),
      ms: fc.integer({ min: 1, max: 400 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("crash" as const),
      after: fc.nat({ max: 6 }),
      kept: fc.nat(),
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** A file, its fabric, and what was promised to the holders of its leases. */
class Play {
  readonly host = new VirtualHost();
  readonly promised: Promised[] = [];
  #fabric;
  #disk: SimDisk;
  readonly #generations = new Map<string, string>();

  constructor() {
    ({ fabric: this.#fabric, disk: this.#disk } = openSim(this.host, undefined, { blocks: 16 }));
  }

  async take(one: Step): Promise<void> {
    if (one.do === "acquire") return this.#acquire(one.blocks, one.ttlMs);
    if (one.do === "pass") return this.#pass(one.ms);
    if (one.do === "crash") return this.#crash(one.after, one.kept);
    const standing = this.promised.filter(({ isOver }) => !isOver);
    const promised = standing[one.which % standing.length];
    if (promised === undefined) return;
    const lease = await this.#fabric.attachBlock(promised.ticket);
    if (one.do === "write") {
      await lease.write(0, filled(one.byte, promised.blocks));
      await lease.flush();
      promised.byte = one.byte;
    } else if (one.do === "renew") {
      promised.deadlineMs = await lease.renew(one.ttlMs);
    } else {
      lease.release();
      await lease.settle();
      promised.isOver = true;
    }
  }

  async #acquire(blocks: number, ttlMs: number): Promise<void> {
    const lease = await this.#fabric
      .block()
      .minBlocks(blocks)
      .leaseMs(ttlMs)
      .acquire()
      .catch(() => undefined);
    if (lease === undefined) return;
    expect(await bytesOf(lease)).toEqual(filled(0, blocks));
    const key = `${lease.slot}.${lease.generation}`;
    expect(this.#generations.get(key)).toBeUndefined();
    this.#generations.set(key, lease.leaseId);
    const { expiresAtMs: deadlineMs } = lease;
    this.promised.push({ ticket: lease.ticket(), blocks, deadlineMs, byte: 0, isOver: false });
  }

  async #pass(ms: number): Promise<void> {
    this.host.nowMs += ms;
    this.#fabric.tick(this.host.nowMs);
    this.#settleTime();
    await quiet();
  }

  #settleTime(): void {
    for (const one of this.promised) if (one.deadlineMs <= this.host.nowMs) one.isOver = true;
  }

  /** Power fails a few changes into whatever comes next; of what is not synced, any part is kept. */
  async #crash(after: number, kept: number): Promise<void> {
    this.#disk.crashAt = this.#disk.changes + after;
    for (const lease of this.#fabric.leases())
      void (lease as BlockLease).renew(1_000).catch(() => {});
    void this.#fabric
      .block()
      .minBlocks(2)
      .acquire()
      .catch(() => {});
    await quiet();
    const platter = this.#disk.platter(kept);
    // Not told to anybody: their deadlines may be later than promised.
    ({ fabric: this.#fabric, disk: this.#disk } = openSim(this.host, platter, { blocks: 16 }));
    await quiet();
    expect(this.#fabric.blockDamage()).toEqual([]);
    // The grant that was under way was promised to nobody, and is given back here.
    const known = new Set(this.promised.map(({ ticket }) => ticket.leaseId));
    for (const lease of this.#fabric.leases()) {
      this.#generations.set(`${lease.slot}.${lease.generation}`, lease.leaseId);
      if (!known.has(lease.leaseId)) lease.release();
    }
    for (const one of this.promised) {
      const lease = await this.#fabric.attachBlock(one.ticket).catch(() => undefined);
      if (lease !== undefined && !one.isOver) one.deadlineMs = lease.expiresAtMs;
    }
    await quiet();
  }

  async check(): Promise<void> {
    expect(imbalances(this.#fabric.stats())).toEqual([]);
    for (const one of this.promised) {
      if (one.isOver) {
        await expect(this.#fabric.attachBlock(one.ticket)).rejects.toMatchObject({
          code: "LEASE_EXPIRED",
        });
        continue;
      }
      const lease = await this.#fabric.attachBlock(one.ticket);
      expect(lease.expiresAtMs).toBe(one.deadlineMs);
      expect(await bytesOf(lease)).toEqual(filled(one.byte, one.blocks));
    }
    const held = this.promised.filter(({ isOver }) => !isOver);
    expect(this.#fabric.stats().blocks.leasedBytes).toBe(
      held.reduce((sum, { blocks }) => sum + blocks * 512, 0),
    );
  }
}

describe("a block file against what was promised", () => {
  it("J1, L1, A1, A2: through leases, time and crashes, every acknowledged step is found, and no generation comes twice", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
        const play = new Play();
        for (const one of steps) {
          await play.take(one);
          await play.check();
        }
      }),
      { numRuns: 150 },
    );
  });
});
