/**
 * Stores of values by key: several tasks of one process use one at a time, whose keys expire, move between memory and blocks,
 * and are compacted; it is opened anew, and found as it was.
 */
import { FabricKvStore, stringCodec, type KvOptions } from "@selvage/collections";
import { isFabricError, type BlockLease, type MemLease } from "@selvage/fabric";
import { sometimes, Violation, type SimNode } from "@selvage/sim";
import { rejected } from "./map-episode.ts";
import type { Stage } from "./queue-book.ts";
import { k3, k4 } from "./collections-held.ts";

type Store = FabricKvStore<string>;

const rounds = 2;
const stepsMax = 16;

/** What is known of a key with a TTL, which one task uses alone. */
interface Timed {
  readonly value: string;
  readonly ttlMs: number;
  /** Not before the first and not after the second of these is it gone. */
  goneFromMs: number;
  goneByMs: number;
}

/** One store on its leases, opened several times. */
export async function storeEpisode(stage: Stage): Promise<void> {
  const { node, fabric } = stage;
  const { random } = node;
  const disk = await fabric
    .block()
    .minBlocks(random.between(34, 44))
    .leaseSecs(1_000_000)
    .acquire();
  const options: KvOptions<string> = {
    value: stringCodec,
    hotValueBytes: 64,
    clock: { nowMs: () => fabric.nowMs() },
  };
  const episode = new StoreEpisode(stage, disk, options);
  await rejected("NOT_FOUND", "blank blocks", () => FabricKvStore.fromCold(disk, options));
  let mem: MemLease | undefined;
  for (let round = 0; round < rounds; round++) {
    mem = await episode.round(mem, round);
    node.record("store.opened", { round });
  }
  mem?.release();
  disk.release();
}

class StoreEpisode {
  readonly #stage: Stage;
  readonly #node: SimNode;
  readonly #disk: BlockLease;
  readonly #options: KvOptions<string>;
  readonly #timed = new Map<string, Timed>();
  #puts = 0;
  /** Keys that no history is judged by any more. */
  #generation = 0;

  constructor(stage: Stage, disk: BlockLease, options: KvOptions<string>) {
    this.#stage = stage;
    this.#node = stage.node;
    this.#disk = disk;
    this.#options = options;
  }

  /** Opens the store, has it used, and leaves it: gives its memory. */
  async round(before: MemLease | undefined, round: number): Promise<MemLease> {
    const { fabric, node } = this.#stage;
    const { random } = node;
    const isShort = random.chance(1, 4);
    const isKept = before?.isLive === true && random.chance(1, 2);
    if (!isKept) before?.release();
    const builder = fabric.mem().minBytes(random.spread(700, 4_000));
    const mem = isKept
      ? before
      : builder.leaseMs(isShort ? random.spread(50, 500) : 10_000_000).acquire();
    const store =
      round === 0
        ? await FabricKvStore.fromLeases(mem, this.#disk, this.#options)
        : await FabricKvStore.fromCold(this.#disk, { ...this.#options, mem });
    await this.#use(store, mem);
    const { compactions, evictions, coldReads, hot, hotRebuilds, hotHits } = store.stats();
    sometimes("a store compacted its log in memory", compactions > 0);
    sometimes("a store evicted a value", evictions > 0);
    sometimes("a value was promoted", coldReads > 0 && hot === "live");
    sometimes("a store lost its memory", hot === "lost");
    sometimes("a store built its memory anew", hotRebuilds > 0);
    sometimes("a value was found in memory", hotHits > 0);
    const draw = random.below(3);
    if (draw === 0) await store.close();
    else if (draw === 1) await store.flush();
    else await this.#replaced(store);
    if (draw === 0) await rejected("DISCONNECTED", "a closed store", () => store.get("k1"));
    return mem;
  }

  async #use(store: Store, mem: MemLease): Promise<void> {
    const { node } = this;
    const tasks = Array.from({ length: 2 }, (_, at) => this.#shared(store, `t${at}`));
    tasks.push(this.#alone(store), this.#tick(store));
    await Promise.all(tasks);
    if (mem.isLive && node.random.chance(1, 3)) {
      // What is not true in memory is read from the blocks.
      mem.write(4 * node.random.between(2, 15), Uint8Array.of(255, 255, 255, 255));
      for (const key of await store.keys())
        if (this.#timed.has(key)) await this.#look(store, key);
        else await store.get(key);
    }
  }

  get node(): SimNode {
    return this.#node;
  }

  async #tick(store: Store): Promise<void> {
    const { fabric, node } = this.#stage;
    for (let steps = 5; steps > 0; steps--) {
      await node.sleep(node.random.spread(20, 500));
      const { expired, touched } = await store.tick(fabric.nowMs());
      sometimes("a key expired", expired > 0);
      sometimes("a deadline that moved was kept", touched > 0);
    }
  }

  /** Keys that every task uses: their history is judged. */
  async #shared(store: Store, client: string): Promise<void> {
    const { history, key: prefix, node } = this.#stage;
    const { random } = node;
    for (let steps = random.between(3, stepsMax); steps > 0; steps--) {
      const name = `s${random.below(3)}`;
      const key = `${prefix}/${this.#generation}/${name}`;
      const draw = random.below(8);
      // Now and then one that there may be no room for.
      const bytes = random.chance(1, 12) ? 6_000 : random.spread(1, 300);
      const value = `${++this.#puts} ${"x".repeat(bytes)}`;
      const [input, run] =
        draw < 4
          ? ([{ type: "put", key, value }, () => store.put(name, value)] as const)
          : draw < 6
            ? ([{ type: "get", key }, () => store.get(name)] as const)
            : draw === 6
              ? ([{ type: "has", key }, () => store.has(name)] as const)
              : ([{ type: "delete", key }, () => store.delete(name)] as const);
      const token = history.invoke(client, input);
      try {
        history.ok(token, await run());
      } catch (thrown) {
        if (!isFabricError(thrown) || thrown.code !== "CAPACITY_EXCEEDED") throw thrown;
        history.fail(token);
        sometimes("a store was full");
      }
      if (random.chance(1, 2)) await node.sleep(random.spread(1, 200));
    }
  }

  /** Keys with a TTL, that one task uses. */
  async #alone(store: Store): Promise<void> {
    const { random } = this.node;
    for (let steps = random.between(3, stepsMax); steps > 0; steps--) {
      const key = `a${random.below(4)}`;
      const draw = random.below(4);
      if (draw < 2) await this.#put(store, key);
      else if (draw === 2) await this.#look(store, key);
      else if (random.chance(1, 2)) {
        await store.delete(key);
        this.#timed.delete(key);
      } else await this.#isListed(store, key);
      await this.node.sleep(random.spread(1, 300));
    }
  }

  async #put(store: Store, key: string): Promise<void> {
    const { random } = this.node;
    const ttlMs = random.spread(20, 3_000);
    const value = `${++this.#puts} ${"y".repeat(random.spread(1, 400))}`;
    const fromMs = this.#nowMs();
    try {
      await store.putWithTtl(key, value, ttlMs);
    } catch (thrown) {
      if (!isFabricError(thrown) || thrown.code !== "CAPACITY_EXCEEDED") throw thrown;
      return;
    }
    const timed = { value, ttlMs, goneFromMs: fromMs + ttlMs, goneByMs: this.#nowMs() + ttlMs };
    this.#timed.set(key, timed);
  }

  async #look(store: Store, key: string): Promise<void> {
    const known = this.#timed.get(key);
    const fromMs = this.#nowMs();
    const value = await store.get(key);
    const byMs = this.#nowMs();
    if (value !== undefined && value !== known?.value)
      throw new Violation(k3, `${key} is ${value.slice(0, 9)}`);
    if (known === undefined) return;
    if (value === undefined) {
      if (byMs < known.goneFromMs)
        throw new Violation(k3, `early: ${known.goneFromMs - byMs} ms were left`);
      this.#timed.delete(key);
    } else if (fromMs >= known.goneByMs)
      throw new Violation(k3, `late: ${fromMs - known.goneByMs} ms ago`);
    else {
      // Its time begins anew, with the look or not, if it ended meanwhile.
      known.goneFromMs = Math.max(
        known.goneFromMs,
        byMs < known.goneFromMs ? fromMs + known.ttlMs : 0,
      );
      known.goneByMs = Math.max(known.goneByMs, byMs + known.ttlMs);
    }
  }

  async #isListed(store: Store, key: string): Promise<void> {
    const known = this.#timed.get(key);
    const fromMs = this.#nowMs();
    const leftMs = await store.ttl(key);
    const isThere = await store.has(key);
    const isIn = (await store.keys()).includes(key);
    const byMs = this.#nowMs();
    if (known === undefined) {
      if (isThere || isIn || leftMs !== undefined) throw new Violation(k3, `${key} is there`);
    } else if (byMs < known.goneFromMs && !(isThere && isIn && (leftMs as number) > 0))
      throw new Violation(k3, `early: ${key} is not listed`);
    else if (fromMs >= known.goneByMs && (isThere || isIn))
      throw new Violation(k3, `late: ${key} is listed`);
  }

  /** K4: another store is opened on the blocks, and this one is over. */
  async #replaced(store: Store): Promise<void> {
    // Deadlines that were moved by looks are kept from here on.
    await store.flush();
    const other = await FabricKvStore.fromCold(this.#disk, this.#options);
    await rejected("STALE_EPOCH", "a store that was replaced", () => store.delete("k"), k4);
    await rejected("STALE_EPOCH", "a store that was replaced", () => store.get("a1"), k4);
    sometimes("a store was replaced");
    await this.#alone(other);
    await other[Symbol.asyncDispose]();
  }

  #nowMs(): number {
    return this.#stage.fabric.nowMs();
  }
}
