/** Values and records on blocks that several instances use: the latest goes on, the others are turned away. */
import { Durable } from "@selvage/collections";
import type { Codec } from "@selvage/fabric";
import { isFabricError, jsonCodec, type BlockLease } from "@selvage/fabric";
import {
  decodeLocator,
  encodeLocator,
  EPOCH_MAX,
  Fenced,
  FenceEpoch,
  FenceGuard,
  HandoffReader,
  HandoffWriter,
  type Locator,
} from "@selvage/fence";
import { sometimes, Violation, type RandomStream } from "@selvage/sim";
import { refused, rejected } from "./map-episode.ts";
import type { Stage } from "./queue-book.ts";
import { d2, f1, f2, h1, j1, j2, l1, p2, r6 } from "./collections-held.ts";

interface Count {
  count: number;
}

const counts: Codec<Count> = jsonCodec<Count>();

/** A durable value of several instances, one after the other. */
export async function durableEpisode(stage: Stage): Promise<void> {
  const { node, fabric } = stage;
  const { random } = node;
  const lease = await fabric.block().minBlocks(6).leaseSecs(1_000_000).acquire();
  await rejected("NOT_FOUND", "blank blocks", () => Durable.restore(lease, counts));
  let durable = new Durable<Count>({ count: 0 }, lease, counts);
  let acked = 0;
  for (let rounds = random.between(2, 5); rounds > 0; rounds--) {
    const every = random.below(4);
    durable.setAutoCheckpoint(every === 0 ? undefined : every);
    for (let mutations = random.between(1, 8); mutations > 0; mutations--) {
      const before = durable.generation;
      await durable.mutate((value) => void value.count++);
      if (durable.generation > before) acked = durable.value.count;
      if (every > 0 && durable.pending >= every)
        throw new Violation(d2, `${durable.pending} mutations wait, at most ${every}`);
      await node.sleep(random.spread(1, 50));
    }
    if (random.chance(1, 2)) {
      // All wait for one, or for the one after it.
      const [one, two] = await Promise.all([durable.checkpoint(), durable.checkpoint()]);
      if (two < one || durable.pending !== 0) throw new Violation(d2, `${one}, ${two}`);
      acked = durable.value.count;
      node.record("journal.acked", { what: "value", version: acked });
    }
    durable = await follow(durable, lease, acked, random);
    acked = durable.value.count;
  }
  await refusals(durable, acked);
  lease.release();
}

async function follow(
  durable: Durable<Count>,
  lease: BlockLease,
  acked: number,
  random: RandomStream,
): Promise<Durable<Count>> {
  const next = await Durable.restore(lease, counts, () => ({ count: 0 }));
  if (next.value.count !== acked || next.recovered !== undefined)
    throw new Violation(j1, `${next.value.count}, not ${acked}`);
  await next.checkpoint();
  if (next.generation <= durable.generation) throw new Violation(l1, `${next.generation}`);
  if (random.chance(1, 2)) {
    await rejected("STALE_EPOCH", "a checkpoint of a replaced value", () => durable.checkpoint());
    if (!durable.isStale) throw new Violation(p2, "does not know that it is");
    sometimes("a value was replaced");
  }
  return next;
}

async function refusals(durable: Durable<Count>, acked: number): Promise<void> {
  const asynchronous = (() => Promise.resolve()) as unknown as (value: Count) => void;
  await rejected("INVALID_ARGUMENT", "a promise", () => durable.mutate(asynchronous));
  await rejected("INVALID_ARGUMENT", "no change", () => durable.mutate(1 as never));
  refused("INVALID_ARGUMENT", "half a mutation", () => durable.setAutoCheckpoint(0.5));
  const failing = durable.mutate(() => {
    throw new RangeError("no");
  });
  const outcome = await failing.catch((thrown: unknown) => thrown);
  if (!(outcome instanceof RangeError)) throw new Violation(d2, "a failure was kept quiet");
  const { bytesMax } = durable;
  await durable.mutate(() => ({ count: acked, filler: "z".repeat(bytesMax) }));
  await rejected("CAPACITY_EXCEEDED", "a long value", () => durable.checkpoint());
  if (durable.pending !== 1) throw new Violation(d2, "a mutation that failed is forgotten");
  const blocks = await durable.intoBlockLease();
  await rejected("DISCONNECTED", "a value whose blocks are back", () => durable.checkpoint());
  const again = await Durable.restore(blocks, counts);
  if (again.value.count !== acked) throw new Violation(j1, `${again.value.count}, not ${acked}`);
}

/** A stage's record: a writer, its successor, and one who watches. */
export async function handoffEpisode(stage: Stage): Promise<void> {
  const { node, fabric } = stage;
  const { random } = node;
  const lease = await fabric.block().minBlocks(HandoffWriter.BLOCKS).leaseSecs(1_000_000).acquire();
  const reader = new HandoffReader(lease);
  const abort = new AbortController();
  let seen = 0;
  const watch = async (): Promise<void> => {
    const { signal } = abort;
    for await (const state of reader.watch({ timer: node.timer, periodMs: 40, signal })) {
      if (state.generation <= seen) throw new Violation(h1, `${state.generation} after ${seen}`);
      if (state.locator.generation !== state.generation || state.stageId !== "stage")
        throw new Violation(j2, `a locator of ${state.locator.generation}`);
      seen = state.generation;
    }
  };
  const watching = watch().catch((thrown: unknown) => thrown);
  let writer = new HandoffWriter(lease, "stage");
  for (let rounds = random.between(2, 8); rounds > 0; rounds--) {
    await node.sleep(random.spread(1, 200));
    const generation = writer.generation + 1;
    await writer.publish({ ...drawLocator(random), generation });
    if (random.chance(1, 3)) {
      const next = await HandoffWriter.open(lease, "stage");
      await next.publish({ ...drawLocator(random), generation: next.generation + 1 });
      await rejected("STALE_EPOCH", "a writer that was replaced", () =>
        writer.publish(drawLocator(random)),
      );
      sometimes("a writer was replaced");
      writer = next;
    }
  }
  await rejected("CONFLICT", "another stage", () =>
    new HandoffWriter(lease, "other").publish(drawLocator(random)),
  );
  await node.sleep(100);
  if (seen !== writer.generation) throw new Violation(r6, `saw ${seen} of ${writer.generation}`);
  abort.abort(new RangeError("enough"));
  const ended = await watching;
  if (!(ended instanceof RangeError)) throw ended;
  sometimes("a watch was ended");
  await writer.intoBlockLease();
  await rejected("DISCONNECTED", "a writer without blocks", () =>
    writer.publish(drawLocator(random)),
  );
  lease.release();
}

function drawLocator(random: RandomStream): Locator {
  const leaseId = Array.from({ length: 32 }, () => random.below(16).toString(16)).join("");
  const address = { leaseId, slot: random.below(1_000), generation: random.below(1_000) };
  const number = (): number => random.spread(1, 2 ** 30);
  const locator: Locator = random.pick<Locator>([
    { ...address, kind: "queue", offset: number(), capacity: number(), stride: number() },
    { ...address, kind: "mem", offset: number(), bytes: number() },
    { ...address, kind: "block", firstBlock: number(), numBlocks: number() },
  ]);
  const bytes = encodeLocator(locator);
  if (JSON.stringify(sorted(decodeLocator(bytes))) !== JSON.stringify(sorted(locator)))
    throw new Violation(h1, "what was written is not what is read");
  bytes[random.below(4)] = 9;
  refused("DECODE", "a damaged locator", () => decodeLocator(bytes));
  refused("DECODE", "a short locator", () => decodeLocator(bytes.subarray(0, random.below(28))));
  return locator;
}

function sorted(locator: Locator): [string, unknown][] {
  return Object.entries(locator).toSorted(([one], [two]) => (one < two ? -1 : 1));
}

/** F1, F2: a target whose holders are paused and replaced. */
export async function fenceEpisode({ node }: Stage): Promise<void> {
  const { random } = node;
  const guard = new FenceGuard(FenceEpoch.of(random.below(5)));
  const target: number[] = [];
  const holder = async (): Promise<void> => {
    const epoch = guard.advance();
    for (let writes = random.between(1, 4); writes > 0; writes--) {
      await node.sleep(random.spread(1, 400));
      const write = Fenced.at(epoch, epoch).map(({ value }) => value);
      try {
        guard.apply(write, (value) => target.push(value));
      } catch (thrown) {
        if (!isFabricError(thrown) || thrown.code !== "STALE_EPOCH") throw thrown;
        if (!guard.epoch.isStale(epoch))
          throw new Violation(f2, `${epoch.toString()} is not stale`);
        sometimes("a holder that was paused was turned away");
        return;
      }
    }
  };
  const holders: Promise<void>[] = [];
  for (let count = random.between(1, 4); count > 0; count--) {
    holders.push(holder());
    await node.sleep(random.spread(1, 500));
  }
  await Promise.all(holders);
  if (target.some((epoch, at) => at > 0 && epoch < (target[at - 1] as number)))
    throw new Violation(f1, JSON.stringify(target));
  const zero = Fenced.atZero(0);
  if (guard.seal(zero.epoch) || guard.epoch.compare(zero.epoch) <= 0)
    throw new Violation(f2, "zero was promised again");
  refused("EXHAUSTED", "after the last epoch", () => FenceEpoch.of(EPOCH_MAX).next());
  refused("INVALID_ARGUMENT", "half an epoch", () => FenceEpoch.of(0.5));
  if (JSON.stringify({ at: guard.epoch }) !== `{"at":${guard.epoch.value}}`)
    throw new Violation(f1, String(guard.epoch));
}
