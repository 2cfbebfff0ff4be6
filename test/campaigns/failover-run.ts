/** What one run of the failover campaign is about: its sizes, who is in it, and what its nodes have in common. */
import type { GrantRequest, HeldLease, LeaseName } from "@selvage/leasekit";
import { BLOCK_FILE } from "./on-disk.ts";
import type { RandomStream, SimNode, World } from "@selvage/sim";

/** Sizes of a run, in milliseconds where they say so. */
export interface Sizes {
  readonly holders: readonly string[];
  readonly sinks: readonly string[];
  readonly resources: readonly string[];
  readonly ttlMs: number;
  readonly tickMs: number;
  readonly lockDelayMs: number;
  readonly rho: number;
  /** How long anybody waits for an answer. */
  readonly answerMs: number;
  /** Longest time between two effects, and from deciding on one to sending it. */
  readonly paceMs: number;
  /** How much later than it should many a message comes, and some twice, all along; 0: none. */
  readonly lateMs: number;
  /** How often a second authority is opened beside the first; undefined: never. */
  readonly replaceMs: number | undefined;
  /** How often a lease is revoked; undefined: never. */
  readonly revokeMs: number | undefined;
}

/** The node that grants. */
export const AUTHORITY = "authority";

/** Draws sizes: 4 to 7 nodes. */
export function drawSizes(random: RandomStream): Sizes {
  const ttlMs = random.spread(150, 1_600);
  const isLate = random.chance(1, 4);
  // Where answers are late, little else is between a holder's end and the authority's.
  const tickMs = isLate ? Math.ceil(ttlMs / 40) + 5 : random.between(20, 100);
  return {
    holders: names("h", random.between(2, 4)),
    sinks: names("s", random.between(1, 2)),
    resources: names("r", random.between(1, 2)),
    ttlMs,
    tickMs,
    lockDelayMs: tickMs * 3 + (isLate ? 0 : random.pick([0, 50, 500])),
    rho: 0.1,
    answerMs: isLate ? ttlMs * 2 : random.pick([50, Math.ceil(ttlMs / 3), ttlMs * 2]),
    paceMs: random.between(300, 1_200),
    lateMs: isLate ? ttlMs : 0,
    replaceMs: random.chance(1, 3) ? random.between(2_000, 9_000) : undefined,
    revokeMs: random.chance(1, 3) ? random.between(2_000, 9_000) : undefined,
  };
}

function names(prefix: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index + 1}`);
}

interface Unread {
  readonly lease: LeaseName;
  readonly arrivedAtMs: number;
}

/** What the nodes of a run have in common, beyond the network: what the checks are told by. */
export class FailoverRun {
  readonly w: World;
  readonly sizes: Sizes;
  /** Of holders that live: what each believes is asked for at each grant. */
  readonly #held = new Set<HeldLease>();
  // By request: what it was granted.
  readonly #granted = new Map<string, number>();
  readonly #processedAtMs = new Map<string, number>();
  // And when its taking up began, with the clock faults until then.
  readonly #keptSince = new Map<string, { readonly atMs: number; readonly jumps: number }>();
  readonly #unread = new Map<string, Unread>();

  constructor(w: World, sizes: Sizes) {
    this.w = w;
    this.sizes = sizes;
    for (const resource of sizes.resources)
      for (const sink of sizes.sinks) w.record("sink.declared", { resource, sink });
  }

  /** The authority has granted. Says so, and asks all others what they believe now. */
  granted(node: SimNode, request: GrantRequest, epoch: number, begunAtMs: number): void {
    const { resource, holder, requestId } = request;
    const key = JSON.stringify([resource, requestId]);
    this.processed({ resource, holder, epoch }, begunAtMs);
    if (this.#granted.get(key) === epoch)
      return node.record("authority.granted-again", { resource, holder, epoch });
    this.#granted.set(key, epoch);
    // L2: a power cut at this moment would leave it there.
    const durable = node.disks.durableBytes(BLOCK_FILE);
    const isDurable = durable !== undefined && Buffer.from(durable.buffer).includes(requestId);
    node.record("authority.granted", { resource, holder, epoch, request: requestId, isDurable });
    for (const lease of this.#held)
      if (lease.resource === resource && lease.isHeld) this.#believes(node, lease);
  }

  /** A holder has a lease; `node` is where. */
  hold(node: SimNode, lease: HeldLease): void {
    this.#held.add(lease);
    this.#believes(node, lease);
    void lease.ended.then(({ reason }) => {
      this.#held.delete(lease);
      const { resource, holder, epoch } = lease;
      node.record("holder.stopped", { resource, holder, epoch, reason });
    });
  }

  /** A holder is dead, with all its leases. */
  died(prefix: string): void {
    for (const lease of this.#held) if (lease.holder.startsWith(prefix)) this.#held.delete(lease);
  }

  /** A request that keeps a lease has been taken up; its handler began at `begunAtMs`. */
  processed({ resource, epoch }: LeaseName, begunAtMs: number): void {
    const key = JSON.stringify([resource, epoch]);
    this.#processedAtMs.set(key, this.w.nowMs);
    const before = this.#keptSince.get(key)?.atMs ?? -Infinity;
    if (begunAtMs >= before) this.#keptSince.set(key, { atMs: begunAtMs, jumps: this.#jumps });
  }

  /** L7: by how much a holder acts after its TTL, in real time since it was last granted or renewed; negative: before. */
  overMs(resource: string, epoch: number): number {
    const kept = this.#keptSince.get(JSON.stringify([resource, epoch]));
    return kept === undefined ? 0 : this.w.nowMs - kept.atMs - this.sizes.ttlMs;
  }

  // Each may cost an authority's time one tick.
  get #jumps(): number {
    const { kernel } = this.w;
    const kinds = ["clockStep", "clockFreeze", "suspend", "pause"];
    return kinds.reduce((sum, kind) => sum + kernel.count(`fault.${kind}`), 0);
  }

  /** Notes renewals as they reach the authority's network card, before its program reads them. */
  watchArrivals(node: SimNode): void {
    const deliver = node.deliver.bind(node);
    node.deliver = (from, message) => {
      const { ask, id, body } = message as { ask?: string; id: string; body: LeaseName };
      if (ask === "renew" && node.isUp)
        this.#unread.set(id, { lease: body, arrivedAtMs: this.w.nowMs });
      deliver(from, message);
    };
  }

  /** A renewal was answered, well or not. */
  read(name: LeaseName): void {
    for (const [id, { lease }] of this.#unread)
      if (lease.resource === name.resource && lease.epoch === name.epoch) this.#unread.delete(id);
  }

  /** The authority has come up: nothing is left of what its process had not read. */
  forgetUnread(): void {
    this.#unread.clear();
  }

  /** A lease was ended by time: not while a renewal that came in time is still to be read (L6), nor its holder believes (L3). */
  expired(node: SimNode, { resource, holder, epoch }: LeaseName): void {
    const since = this.#processedAtMs.get(JSON.stringify([resource, epoch])) ?? Infinity;
    let unread = 0;
    for (const { lease, arrivedAtMs } of this.#unread.values())
      if (lease.resource === resource && lease.epoch === epoch && lease.holder === holder)
        if (arrivedAtMs <= since + this.sizes.ttlMs) unread++;
    let believers = 0;
    for (const lease of this.#held)
      if (lease.resource === resource && lease.epoch === epoch && lease.isHeld) believers++;
    // L7: time that clocks have made up does not end a lease.
    const { atMs, jumps } = this.#keptSince.get(JSON.stringify([resource, epoch])) ?? {
      atMs: -Infinity,
      jumps: 0,
    };
    const leastMs = this.sizes.ttlMs - (this.#jumps - jumps) * this.sizes.tickMs;
    const earlyMs = Math.max(0, leastMs - (this.w.nowMs - atMs));
    node.record("authority.expired", { resource, holder, epoch, unread, believers, earlyMs });
  }

  // By its own clock, now: at the next grant it is asked for again.
  #believes(node: SimNode, { resource, holder, epoch, remainingMs }: HeldLease): void {
    // Whoever still believes does so for a moment at least.
    const untilMs = this.w.nowMs + Math.max(remainingMs, 0.001);
    node.record("holder.believes", { resource, holder, epoch, untilMs });
  }
}
