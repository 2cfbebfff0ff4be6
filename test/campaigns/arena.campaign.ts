/**
 * Fabrics on nodes that crash, stand still and lose time: every program leases, uses, renews, hands on, releases and forgets
 * memory and blocks at random, and holds each lease to what it was promised.
 */
import { isFabricError, type BlockLease, type Fabric, type MemLease } from "@selvage/fabric";
import { LeaseScope, RenewalManager } from "@selvage/leasekit";
import {
  check,
  sometimes,
  Violation,
  type Campaign,
  type RandomStream,
  type SimNode,
  type World,
} from "@selvage/sim";
import { a1, a5, as, leaseChecks } from "./named.ts";

const passing = new Set(["CAPACITY_EXCEEDED", "LEASE_EXPIRED", "REVOKED", "NOT_FOUND"]);
/** A tenant's, so few that now and then it has them all. */
const leasesMax = 4;
const a2 = "A2: zero before re-lease";
const a3 = "A3: use after reclaim throws, and none ends early";
const a4 = "A4: no view escapes";
const a6 = "A6: quotas hold at every step";
const l4 = "L4: a renewal never revives or shortens";
const j1 = "J1: what was acknowledged is recovered";
const live = "A3: once all is well each program leases memory and asks for blocks again";
const tenants = ["red", "green", "blue"] as const;

interface Sizes {
  readonly nodes: readonly string[];
  readonly memoryBytes: number;
  readonly blocks: number;
  readonly tickMs: number;
  readonly longestTtlMs: number;
  readonly stepMs: number;
}

function sizesOf(random: RandomStream): Sizes {
  return {
    nodes: ["a", "b", "c", "d", "e", "f", "g"].slice(0, random.between(3, 7)),
    memoryBytes: 64 * random.spread(8, 256),
    blocks: random.spread(4, 64),
    tickMs: random.spread(50, 200),
    longestTtlMs: random.spread(100, 5_000),
    stepMs: random.spread(150, 1_500),
  };
}

/** A lease that a program holds, and what it wrote there. */
interface Held {
  readonly lease: MemLease;
  readonly stamp: number;
}

/** One incarnation of a program. */
class Tenant {
  readonly #node: SimNode;
  readonly #fabric: Fabric;
  readonly #sizes: Sizes;
  readonly #renewals: RenewalManager;
  readonly #held: Held[] = [];
  /** Handles of leases that are over. */
  readonly #over: MemLease[] = [];
  readonly #stashed: Uint8Array[] = [];
  #scope: LeaseScope;
  #stamp = 0;

  constructor(node: SimNode, fabric: Fabric, sizes: Sizes) {
    this.#node = node;
    this.#fabric = fabric;
    this.#sizes = sizes;
    this.#renewals = new RenewalManager(fabric);
    this.#scope = new LeaseScope(this.#renewals, { ttlMs: 300 });
  }

  /** One thing that a program may do. */
  act(): void {
    const { random } = this.#node;
    const held = this.#held.length === 0 ? undefined : random.pick(this.#held);
    const kind = random.below(13);
    if (kind === 12) return this.#actLate();
    if (held === undefined || kind < 3) return this.#acquire();
    if (kind < 6) return this.#use(held);
    if (kind === 6) return this.#renew(held);
    if (kind === 7) return this.#end(held);
    if (kind === 8) return this.#handOn(held);
    if (kind === 9) return this.#keep(held);
    if (kind === 10) return this.#look(held);
    return this.#revoke(held);
  }

  /** Sweeps renewals: in production the keeper does. */
  sweep(): void {
    const { renewed } = this.#renewals.tick(this.#fabric.nowMs());
    sometimes("a lease was renewed beside the work", renewed > 0);
  }

  #acquire(): void {
    const { random } = this.#node;
    const bytes = random.spread(1, this.#sizes.memoryBytes >> 1);
    const tenant = random.pick(tenants);
    const ttlMs = random.spread(20, this.#sizes.longestTtlMs);
    const before = this.#fabric.stats().memory.leasedBytes;
    let lease: MemLease;
    try {
      lease = this.#fabric.mem().minBytes(bytes).tenant(tenant).leaseMs(ttlMs).acquire();
    } catch (thrown) {
      if (!isFabricError(thrown) || thrown.code !== "CAPACITY_EXCEEDED") throw thrown;
      sometimes("a quota refused a lease");
      if (this.#fabric.stats().memory.leasedBytes !== before)
        throw new Violation(a6, "a lease that was refused took bytes");
      return;
    }
    if (this.#leasedOf(tenant) > this.#sizes.memoryBytes >> 1)
      throw new Violation(a6, `${tenant} holds more bytes than its quota`);
    if (this.#leasesOf(tenant).length > leasesMax)
      throw new Violation(a6, `${tenant} holds more leases than its quota`);
    const dirty = lease.read(0, lease.bytes).findIndex((byte) => byte !== 0);
    if (dirty >= 0) throw new Violation(a2, `byte ${dirty} is not zero`);
    this.#stamp = (this.#stamp % 250) + 1;
    lease.write(0, new Uint8Array(lease.bytes).fill(this.#stamp));
    this.#held.push({ lease, stamp: this.#stamp });
    this.#node.record("memory.leased");
  }

  #leasesOf(tenant: string): readonly { readonly bytes: number }[] {
    return this.#fabric.leases().filter((lease) => lease.kind === "mem" && lease.tenant === tenant);
  }

  #leasedOf(tenant: string): number {
    return this.#leasesOf(tenant).reduce((sum, lease) => sum + lease.bytes, 0);
  }

  #use({ lease, stamp }: Held): void {
    const ok = this.#passes(lease, () => {
      const bytes = lease.read(0, lease.bytes);
      if (bytes.some((byte) => byte !== stamp))
        throw new Violation(a1, "another's bytes are in a live lease");
    });
    if (!ok) {
      this.#forget(lease);
      sometimes("a lease was used after its end");
    }
  }

  /** Holds an operation on a lease to its deadline: it passes before, and throws from then on, and nothing else. */
  #passes(lease: MemLease, run: () => void): boolean {
    // The fabric's own clock, which ticks advance: it trails the node's, and is what is promised.
    const nowMs = this.#fabric.control.nowMs();
    const { expiresAtMs, state } = lease;
    try {
      run();
    } catch (thrown) {
      if (thrown instanceof Violation || !isFabricError(thrown)) throw thrown;
      if (thrown.code !== "LEASE_EXPIRED" && thrown.code !== "REVOKED") throw thrown;
      const leftMs = expiresAtMs - this.#node.clock.nowMs();
      if (state === "active" && leftMs > 0 && thrown.code === "LEASE_EXPIRED")
        throw new Violation(a3, `early: ${leftMs} ms were left`);
      return false;
    }
    if (nowMs >= expiresAtMs)
      throw new Violation(a3, `used ${nowMs - expiresAtMs} ms after the deadline`);
    return true;
  }

  #renew({ lease }: Held): void {
    const before = lease.expiresAtMs;
    const ttlMs = this.#node.random.spread(20, this.#sizes.longestTtlMs);
    const isOver = this.#fabric.control.nowMs() >= before || !lease.isLive;
    let after: number | undefined;
    const ok = this.#passes(lease, () => (after = lease.renew(ttlMs)));
    if (ok && isOver) throw new Violation(l4, "a lease that had ended was renewed");
    if (ok && (after as number) < before)
      throw new Violation(l4, "a renewal brought the deadline nearer");
    if (!ok) this.#forget(lease);
  }

  #end({ lease }: Held): void {
    lease.release();
    sometimes("a lease was released twice", !lease.release());
    if (this.#passes(lease, () => void lease.read(0, 1)))
      throw new Violation(a3, "a released lease was read");
    this.#forget(lease);
  }

  /** Another thread of this process attaches by the ticket. */
  #handOn({ lease, stamp }: Held): void {
    this.#passes(lease, () => {
      const far = this.#node.threads.attachments().attachMem(lease.ticket());
      if (far.read(0, 1)[0] !== stamp)
        throw new Violation(a1, "an attached handle reads other bytes");
      sometimes("a ticket was attached");
    });
  }

  #keep({ lease }: Held): void {
    if (this.#scope.isOver) this.#scope = new LeaseScope(this.#renewals, { ttlMs: 300 });
    if (!this.#scope.leases.has(lease)) {
      this.#passes(lease, () => {
        lease.read(0, 1);
        this.#scope.add(lease);
      });
      return;
    }
    this.#scope.join().leave();
    sometimes("a scope ended");
  }

  /** A view that is taken out of its callback shows nothing. */
  #look({ lease, stamp }: Held): void {
    this.#passes(lease, () =>
      lease.with((view) => {
        if (view[0] !== stamp) throw new Violation(a1, "a view shows another's bytes");
        this.#stashed.push(view as unknown as Uint8Array);
      }),
    );
    if (this.#stashed.splice(0).some((view) => view.length > 0))
      throw new Violation(a4, "a view outlived its callback");
  }

  #revoke({ lease }: Held): void {
    const graceMs = this.#node.random.below(100);
    sometimes("a lease was revoked", lease.revoke({ graceMs }));
  }

  /** A5: what comes late, for a lease that is over, meets no lease that has its slot by then. */
  #actLate(): void {
    const { random } = this.#node;
    if (this.#over.length === 0) return;
    const late = random.pick(this.#over);
    const next = this.#fabric.leases().find(({ slot }) => slot === late.slot);
    if (next === undefined || next === late) return;
    if (next.generation <= late.generation)
      throw new Violation(a5, `generation ${next.generation} after ${late.generation}`);
    const before = `${next.state} until ${next.expiresAtMs}`;
    const act = random.pick(["release", "renew", "revoke"] as const);
    let done: unknown = false;
    try {
      done = act === "renew" ? late.renew(1_000_000) : late[act]();
    } catch (thrown) {
      if (!isFabricError(thrown)) throw thrown;
    }
    const after = `${next.state} until ${next.expiresAtMs}`;
    if (done !== false) throw new Violation(a5, `a late ${act} was told that it was done`);
    if (after !== before)
      throw new Violation(a5, `a late ${act} made ${after} of another's ${before}`);
    sometimes("an act came late for a lease whose slot another has");
  }

  #forget(lease: MemLease): void {
    if (this.#over.push(lease) > 64) this.#over.shift();
    const at = this.#held.findIndex((held) => held.lease === lease);
    if (at >= 0) this.#held.splice(at, 1);
  }
}

/** Blocks outlive the process: what was written and flushed is there for whoever attaches by the ticket. */
async function leaseBlocks(
  node: SimNode,
  fabric: Fabric,
  kept: Map<string, string>,
  name: string,
): Promise<void> {
  const { random } = node;
  const ticket = kept.get(name);
  let lease: BlockLease | undefined;
  if (ticket !== undefined) {
    try {
      lease = await fabric.attachBlock(JSON.parse(ticket));
      const byte = (await lease.readBlock(0))[0];
      if (byte !== 77) throw new Violation(j1, `a block holds ${byte}`);
      sometimes("a block lease was attached by another process");
      lease.release();
    } catch (thrown) {
      if (!isFabricError(thrown)) throw thrown;
    }
    kept.delete(name);
  }
  lease = await fabric
    .block()
    .minBlocks(random.between(1, 3))
    .leaseMs(random.spread(500, 8_000))
    .acquire();
  const bytes = await lease.readBlock(0);
  if (bytes.some((byte) => byte !== 0)) throw new Violation(a2, "a block is not zero");
  await lease.writeBlock(0, new Uint8Array(512).fill(77));
  await lease.flush();
  kept.set(name, JSON.stringify(lease.ticket()));
  node.record("block.kept");
  await node.sleep(random.spread(10, 2_000));
  if (random.chance(1, 2)) {
    lease.release();
    // Until that is durable, a crash leaves the lease with all its bytes, or none.
    await lease.settle();
    kept.delete(name);
  }
}

// Several are given back at once, and another is asked for before their blocks are zero, or cut off.
async function churn(node: SimNode, fabric: Fabric): Promise<void> {
  const { random } = node;
  const lease = async (): Promise<BlockLease> => {
    const got = await fabric.block().minBlocks(1).leaseMs(5_000).acquire();
    const bytes = await got.readBlock(0);
    if (bytes.some((byte) => byte !== 0)) throw new Violation(a2, "a block is not zero");
    await got.writeBlock(0, new Uint8Array(512).fill(78));
    return got;
  };
  const some = [await lease(), await lease()];
  // The upper one first: the file is being cut above the lower one when that one ends.
  for (const one of some.toReversed()) {
    one.release();
    await node.sleep(random.spread(1, 1_000) / 1_000);
  }
  const last = [await lease()];
  await node.sleep(random.between(1, 5));
  try {
    // What was given back below the last one is not cut off with it, and among these.
    for (let more = 0; more < 6; more++) last.push(await lease());
  } finally {
    for (const one of last) one.release();
  }
  sometimes("blocks were leased while others were given back");
}

// Two of them beside each other: blocks are given back while others are asked for, and cut off.
async function keepLeasingBlocks(
  node: SimNode,
  fabric: Fabric,
  kept: Map<string, string>,
): Promise<void> {
  const loop = async (name: string): Promise<void> => {
    for (;;) {
      try {
        if (node.random.chance(1, 2)) await churn(node, fabric);
        await leaseBlocks(node, fabric, kept, name);
      } catch (thrown) {
        // Out of room, or over under way: the store itself is well.
        if (!isFabricError(thrown) || !passing.has(thrown.code)) throw thrown;
      }
      // Out of room or not, it goes on.
      node.record("blocks.tried");
      // At once, now and then: the blocks that were given back are still being made zero.
      const pauseMs = node.random.spread(200, 3_000);
      await node.sleep(node.random.chance(1, 3) ? node.random.between(1, 5) : pauseMs);
    }
  };
  await Promise.all([loop(`${node.name} 1`), loop(`${node.name} 2`)]);
}

// A fabric that was disposed of may still be writing: until that is done, it is the file's one writer.
async function opened(node: SimNode, world: World, sizes: Sizes): Promise<Fabric> {
  const { memoryBytes, blocks, tickMs } = sizes;
  const quota = { memoryBytes: memoryBytes >> 1, leases: leasesMax };
  const options = { memoryBytes: memoryBytes * 2, blocks, blockFile: "blocks", tickMs };
  for (;;)
    try {
      const all = Object.fromEntries(tenants.map((name) => [name, quota]));
      return world.fabric(node, { ...options, tenants: all });
    } catch (thrown) {
      if (!isFabricError(thrown)) throw thrown;
      if (thrown.code !== "CONFLICT" && thrown.code !== "STORE_UNAVAILABLE") throw thrown;
      sometimes("a file was still being written", thrown.code === "CONFLICT");
      await node.sleep(50);
    }
}

async function program(
  node: SimNode,
  world: World,
  sizes: Sizes,
  kept: Map<string, string>,
): Promise<void> {
  for (;;) {
    const fabric = await opened(node, world, sizes);
    const tenant = new Tenant(node, fabric, sizes);
    const stop = [
      node.timer.every(sizes.stepMs, () => tenant.act()),
      node.timer.every(50, () => tenant.sweep()),
    ];
    try {
      await keepLeasingBlocks(node, fabric, kept);
    } catch (thrown) {
      if (!isFabricError(thrown)) throw thrown;
      // A store that stays failed until it is opened again.
      sometimes("a store failed, and was opened again", thrown.code === "STORE_UNAVAILABLE");
    }
    for (const end of stop) end();
    fabric[Symbol.dispose]();
    await node.sleep(node.random.spread(1, 100));
  }
}

/** See above. */
export const campaign: Campaign = {
  name: "arena",
  swarm: (random) => ({
    nodes: sizesOf(random).nodes,
    moments: ["lease.granted", "lease.expired", "lease.released", "disk.synced", "block.kept"],
  }),
  scenario(random) {
    const sizes = sizesOf(random);
    const kept = new Map<string, string>();
    return {
      world(world) {
        for (const name of sizes.nodes)
          world.node(name, (node) => program(node, world, sizes, kept));
      },
      invariants: [...leaseChecks(), as(a3, check.noEffectAfterExpiry())],
      finally: sizes.nodes.flatMap((name) =>
        ["memory.leased", "blocks.tried"].map((kind) =>
          check.eventually(kind, 28_000, { where: ({ node }) => node === name, name: live }),
        ),
      ),
    };
  },
  properties: [a1, a2, a3, a4, a5, a6, l4, j1, live],
  sometimes: [
    "a quota refused a lease",
    "a lease was renewed beside the work",
    "a lease was used after its end",
    "a lease was released twice",
    "a ticket was attached",
    "a scope ended",
    "a lease was revoked",
    "an act came late for a lease whose slot another has",
    "a block lease was attached by another process",
    "blocks were leased while others were given back",
    "a store failed, and was opened again",
    "a file was still being written",
  ],
};
