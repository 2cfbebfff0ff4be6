/** The programs of the failover campaign: an authority, holders that work, and sinks that compare epochs. */
import { FabricError, isFabricError, jsonCodec, type RecordBlocks } from "@selvage/fabric";
import { FencedRecord, Fenced, FenceEpoch, FenceGuard } from "@selvage/fence";
import {
  HeldLease,
  HolderClock,
  LeaseAuthority,
  type GrantRequest,
  type LeaseName,
  type LeaseStore,
} from "@selvage/leasekit";
import { sometimes, type SimNode } from "@selvage/sim";
import { AUTHORITY, type FailoverRun } from "./failover-run.ts";
import { onDisk } from "./on-disk.ts";
import { Rpc } from "./rpc.ts";

const chaosEndsMs = 31_000;
/** Those who wait ask now and then: with short TTLs they would ask for little else. */
const retry = { retries: 8, baseMs: 400, maxMs: 2_000 };

/** Grants from its disk, for as long as that holds; now and then a second one takes over beside the first. */
export async function authorityProgram(run: FailoverRun, node: SimNode): Promise<void> {
  const { tickMs, lockDelayMs, rho } = run.sizes;
  // The one that was replaced goes on for a while, and is asked too.
  let serving: LeaseAuthority[] = [];
  run.forgetUnread();
  Rpc.serve(
    node,
    answersOf(run, node, () => serving[node.random.below(Math.max(1, serving.length))]),
  );
  const open = (blocks: RecordBlocks): Promise<LeaseAuthority> =>
    LeaseAuthority.open(
      blocks,
      { clock: node.clock, timer: node.timer },
      {
        rho,
        tickMs,
        lockDelayMs,
        onExpired: (lease) => {
          sometimes("a lease ended by time");
          run.expired(node, lease);
        },
      },
    );
  await onDisk(run.w, node, async (blocks, opened) => {
    const first = await open(blocks);
    serving = [first];
    node.record("authority.opened", { opened });
    await outstanding(run, first);
    void revokeNowAndThen(run, node, () => serving.at(-1));
    let newest = first;
    const { replaceMs } = run.sizes;
    for (;;) {
      const stops = newest.stopped.then(() => "stopped" as const);
      // Each counts all leases as renewed: if they came and went faster than a TTL for ever, none would end.
      const isCalm = replaceMs === undefined || run.w.nowMs > chaosEndsMs;
      const turn = isCalm ? [] : [node.sleep(replaceMs)];
      if ((await Promise.race([stops, ...turn])) === "stopped") break;
      // It is replaced from the moment that the second one's first write is there, whoever knows.
      const second = await open(blocks);
      node.record("authority.replaced");
      serving = [newest, second];
      void newest.stopped.then((why) =>
        sometimes(
          "a replaced authority was told so",
          isFabricError(why) && why.code === "STALE_EPOCH",
        ),
      );
      newest = second;
    }
    serving = [];
    sometimes("a write failed, and the authority stopped");
  });
}

async function outstanding(run: FailoverRun, authority: LeaseAuthority): Promise<void> {
  for (const resource of run.sizes.resources) {
    const { state } = await authority.look(resource);
    sometimes("an authority came back with leases outstanding", state !== "free");
  }
}

async function revokeNowAndThen(
  run: FailoverRun,
  node: SimNode,
  newest: () => LeaseAuthority | undefined,
): Promise<void> {
  const { revokeMs, resources } = run.sizes;
  if (revokeMs === undefined) return;
  for (;;) {
    await node.sleep(revokeMs);
    const authority = newest();
    if (authority === undefined) return;
    const resource = node.random.pick(resources);
    try {
      const { epoch, state } = await authority.look(resource);
      if (state !== "held") continue;
      await authority.revoke({ resource, epoch });
      node.record("authority.revoked", { resource, epoch });
    } catch {
      return;
    }
  }
}

function answersOf(
  run: FailoverRun,
  node: SimNode,
  pick: () => LeaseAuthority | undefined,
): Readonly<Record<string, (body: never) => unknown>> {
  const authority = (): LeaseAuthority => {
    const found = pick();
    if (found !== undefined) return found;
    throw new FabricError("STORE_UNAVAILABLE", "Cannot serve leases: not open yet");
  };
  const renewed = async (lease: LeaseName): Promise<unknown> => {
    const begunAtMs = run.w.nowMs;
    try {
      const value = await authority().renew(lease);
      run.processed(lease, begunAtMs);
      const { resource, holder, epoch } = lease;
      node.record("authority.renewed", { resource, holder, epoch });
      return value;
    } catch (error) {
      const isRefused = isFabricError(error) && error.code !== "STORE_UNAVAILABLE";
      sometimes("a renewal was refused", isRefused);
      throw error;
    } finally {
      run.read(lease);
    }
  };
  return {
    acquire: async (request: GrantRequest) => {
      const begunAtMs = run.w.nowMs;
      const grant = await authority().acquire(request);
      run.granted(node, request, grant.epoch, begunAtMs);
      return grant;
    },
    renew: renewed,
    release: async (lease: LeaseName) => {
      await authority().release(lease);
      const { resource, holder, epoch } = lease;
      node.record("authority.released", { resource, holder, epoch });
    },
  };
}

/** The authority, as holders reach it. */
function remoteStore(run: FailoverRun, rpc: Rpc): LeaseStore {
  const ask = <T>(what: string, body: unknown): Promise<T> =>
    rpc.call(AUTHORITY, what, body, run.sizes.answerMs);
  return {
    acquire: (request) => ask("acquire", request),
    renew: (lease) => ask("renew", lease),
    release: (lease) => ask("release", lease),
    revoke: (lease) => ask("revoke", lease),
    look: (resource) => ask("look", resource),
  };
}

/** Acquires, seals all sinks, works, and begins anew: for each resource at the same time. */
export async function holderProgram(run: FailoverRun, node: SimNode): Promise<void> {
  run.died(`${node.name}.`);
  const rpc = new Rpc(node);
  const store = remoteStore(run, rpc);
  const clock = new HolderClock(node.time);
  const { ttlMs, rho, resources } = run.sizes;
  await Promise.all(
    resources.map(async (resource) => {
      for (;;) {
        try {
          const lease = await HeldLease.acquire(
            { store, resource, holder: `${node.name}.${node.incarnation}`, ttlMs, rho, retry },
            { clock, timer: node.timer, random: node.random },
          );
          run.hold(node, lease);
          void lease.ended.then(({ reason }) =>
            sometimes("a holder stopped by its own deadline", reason === "deadline"),
          );
          await workWith(run, node, rpc, lease);
        } catch (error) {
          if (!isFabricError(error)) throw error;
        }
        await node.sleep(node.random.between(10, 500));
      }
    }),
  );
}

async function workWith(
  run: FailoverRun,
  node: SimNode,
  rpc: Rpc,
  lease: HeldLease,
): Promise<void> {
  const { sinks, paceMs, answerMs } = run.sizes;
  const { resource, holder, epoch } = lease;
  // E2: no effect before every sink has promised, however long one of them takes.
  for (const sink of sinks) {
    while (!(await asked(rpc.call(sink, "seal", { resource, epoch }, answerMs)))) {
      if (!lease.isHeld) return;
      await node.sleep(paceMs / 4);
    }
  }
  node.record("holder.sealed", { resource, holder, epoch });
  // Some work for as long as they can, and some release while what they have begun is still on its way.
  const effects = node.random.spread(1, 128);
  for (let begun = 0; begun < effects && lease.isHeld; begun++) {
    const effect = lease.guard(() => ({ resource, holder, epoch }));
    node.record("holder.acted", { ...effect, overMs: run.overMs(resource, epoch) });
    void act(run, node, rpc, effect).catch(() => lease.release().catch(() => {}));
    await node.sleep(node.random.between(1, paceMs));
  }
  await lease.release();
  if (node.random.chance(1, 2)) void releaseAgain(run, node, rpc, { resource, holder, epoch });
}

// L4: whoever heard no answer asks again, and may find that another has the lease by then.
async function releaseAgain(
  run: FailoverRun,
  node: SimNode,
  rpc: Rpc,
  lease: LeaseName,
): Promise<void> {
  await node.sleep(node.random.spread(1, 2 * run.sizes.ttlMs));
  await rpc.call(AUTHORITY, "release", lease, run.sizes.answerMs).catch((refusal: unknown) => {
    const isOver = isFabricError(refusal) && refusal.code !== "STORE_UNAVAILABLE";
    sometimes("a release came too late", isOver);
  });
}

// H-k: from looking at the lease to acting on it is time enough for anything.
async function act(run: FailoverRun, node: SimNode, rpc: Rpc, effect: Effect): Promise<void> {
  const { sinks, paceMs, answerMs } = run.sizes;
  await node.sleep(node.random.between(1, paceMs));
  const sink = node.random.pick(sinks);
  // Whoever hears nothing tries again: so the past comes back long after a sink has restarted.
  for (let tries = 0; tries < 6; tries++) {
    if (await asked(rpc.call(sink, "apply", effect, answerMs))) return;
    await node.sleep(paceMs);
  }
}

/** False where it is to be asked again. @throws FabricError `STALE_EPOCH`: whoever asks has been replaced. */
async function asked(answer: Promise<unknown>): Promise<boolean> {
  try {
    await answer;
    return true;
  } catch (error) {
    if (!isFabricError(error) || error.code === "STALE_EPOCH") throw error;
    return false;
  }
}

/** What a sink keeps of a resource. */
interface Kept {
  readonly promised: number;
  readonly effects: number;
}
type State = Readonly<Record<string, Kept>>;
interface Effect {
  readonly resource: string;
  readonly holder: string;
  readonly epoch: number;
}

const codec = jsonCodec<State>();
const sinkKind = "SINK";

/** Keeps promise and effects in one record: compared and written in one step, and acknowledged when that is durable. */
export async function sinkProgram(run: FailoverRun, node: SimNode): Promise<void> {
  let asks: ((sink: Sink) => Promise<void>)[] = [];
  let wake: (() => void) | undefined;
  const turn = <T>(work: (sink: Sink) => Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      asks.push((sink) => work(sink).then(resolve, reject));
      wake?.();
    });
  Rpc.serve(node, {
    seal: async ({ resource, epoch }: Effect) => turn((sink) => sink.seal(resource, epoch)),
    apply: async (effect: Effect) => turn((sink) => sink.apply(effect)),
  });
  await onDisk(run.w, node, async (blocks, opened) => {
    const sink = new Sink(node, blocks);
    await sink.open();
    sometimes("a sink came back with its promise", opened === 1 && sink.hasPromised);
    while (!sink.isOver) {
      if (asks.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      const batch = asks;
      asks = [];
      for (const ask of batch) await ask(sink);
    }
  });
}

class Sink {
  readonly #node: SimNode;
  readonly #record: FencedRecord;
  #state: State = {};
  isOver = false;

  constructor(node: SimNode, blocks: RecordBlocks) {
    this.#node = node;
    this.#record = new FencedRecord(blocks, sinkKind);
  }

  get hasPromised(): boolean {
    return Object.keys(this.#state).length > 0;
  }

  async open(): Promise<void> {
    const { state } = await this.#record.read();
    if (state !== undefined) this.#state = codec.decode(state);
  }

  async seal(resource: string, epoch: number): Promise<void> {
    const kept = this.#keptOf(resource);
    const guard = new FenceGuard(FenceEpoch.of(kept.promised));
    if (!guard.seal(FenceEpoch.of(epoch))) throw stale(kept.promised);
    if (epoch > kept.promised) await this.#keep(resource, { ...kept, promised: epoch });
    this.#node.record("sink.promised", { sink: this.#node.name, resource, epoch });
  }

  async apply({ resource, holder, epoch }: Effect): Promise<void> {
    const kept = this.#keptOf(resource);
    const guard = new FenceGuard(FenceEpoch.of(kept.promised));
    try {
      const effects = guard.apply(
        Fenced.at(FenceEpoch.of(epoch), 1),
        (more) => kept.effects + more,
      );
      await this.#keep(resource, { promised: guard.epoch.value, effects });
    } catch (error) {
      sometimes(
        "a sink refused a stale epoch",
        isFabricError(error) && error.code === "STALE_EPOCH",
      );
      throw error;
    }
    this.#node.record("sink.applied", { sink: this.#node.name, resource, holder, epoch });
  }

  #keptOf(resource: string): Kept {
    return this.#state[resource] ?? { promised: 0, effects: 0 };
  }

  async #keep(resource: string, kept: Kept): Promise<void> {
    if (this.isOver) throw new FabricError("STORE_UNAVAILABLE", "Cannot write: the sink is over");
    const state = { ...this.#state, [resource]: kept };
    try {
      await this.#record.write(codec.encode(state));
    } catch (cause) {
      // What is there now is found out by opening it again.
      this.isOver = true;
      throw new FabricError("STORE_UNAVAILABLE", "Cannot write the sink's record", {}, { cause });
    }
    this.#state = state;
  }
}

function stale(promised: number): FabricError {
  return new FabricError("STALE_EPOCH", "Cannot promise: a later epoch was promised", { promised });
}
