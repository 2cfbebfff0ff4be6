/**
 * What must survive: a checkpointed value, a store and a handoff record on block files, on nodes whose processes die, whose
 * power fails, and whose disks are slow, full, short, failing, or wrong. What was acknowledged is found again by the next
 * incarnation, or the damage is told; under damage that no single disk survives, nothing wrong passes for right.
 */
import { Durable, FabricKvStore } from "@selvage/collections";
import {
  isFabricError,
  jsonCodec,
  type BlockLease,
  type BlockTicket,
  type Codec,
  type Fabric,
} from "@selvage/fabric";
import { HandoffReader, HandoffWriter } from "@selvage/fence";
import {
  check,
  sometimes,
  SURVIVABLE,
  Violation,
  type Campaign,
  type Check,
  type FaultKind,
  type Occurrence,
  type RandomStream,
  type SimNode,
  type World,
} from "@selvage/sim";
import { a1, a5, leaseChecks } from "./named.ts";

interface Sizes {
  readonly nodes: readonly string[];
  readonly keys: number;
  readonly valueBytes: number;
  readonly pauseMs: number;
  /** Longest that an operation of a disk takes. */
  readonly diskMs: number;
  readonly kinds: readonly FaultKind[];
}

function sizesOf(random: RandomStream): Sizes {
  const beyond: FaultKind[] = [];
  const mood = random.below(8);
  if (mood < 2) beyond.push("bitFlip", "misdirect");
  if (mood === 2) beyond.push("syncLie");
  return {
    nodes: ["a", "b", "c"],
    keys: random.spread(1, 30),
    // Up to three sectors: so a slot may be torn.
    valueBytes: random.between(1, 1_400),
    pauseMs: random.spread(1_000, 8_000),
    diskMs: random.spread(1, 40),
    kinds: [...SURVIVABLE, ...beyond],
  };
}

const j1 = "J1: what was acknowledged is recovered";
const j2 = "J2: old or new, never mixed";
const j3 = "J3: corruption is reported";
const j4 = "J4: a failed sync fails the store until it is opened again";
const j5 = "J5: a file is made durable with its name, and never torn under it";
const j6 = "J6: no space, short and failing operations lose nothing that was acknowledged";
const l1 = "L1: generations strictly increase over restarts";
const live = "J1: once all is well each node acknowledges again, or has refused a damaged file";

/** What has befallen the disk of each node. */
class Damage {
  readonly #flipped = new Set<string>();
  readonly #lied = new Set<string>();
  readonly #failed = new Set<string>();
  readonly #cut = new Set<string>();
  /** Those whose file was refused: its owner has to decide, so they acknowledge nothing any more. */
  readonly refused: Set<string> = new Set<string>();

  /** Looks on, and holds nothing to anything. */
  readonly watch: Check = {
    name: "damage",
    observe: ({ kind, node }) => {
      if (kind === "disk.flipped") this.#flipped.add(node);
      if (kind === "disk.misdirected" || kind === "disk.lied") this.#lied.add(node);
      if (kind === "disk.failed" || kind === "disk.short") this.#failed.add(node);
      if (kind === "disk.failed" || kind === "disk.lost") this.#cut.add(node);
    },
  };

  /** Whether a node's disk has given other bytes than it was given: only bits, which a checksum tells, or anything. */
  of(node: string): "none" | "bits" | "any" {
    if (this.#lied.has(node)) return "any";
    return this.#flipped.has(node) ? "bits" : "none";
  }

  /** Whether the copies of a lease's record may differ: power, or an error, took a write of one that nothing had synced yet. */
  mayDiffer(node: string): boolean {
    return this.#cut.has(node);
  }

  /** The property that the loss of something acknowledged breaks there. */
  lossOn(node: string): string {
    return this.#failed.has(node) ? j6 : j1;
  }
}

/** What was found of something, where, and whether a loss was told with it. */
interface Found {
  readonly what: string;
  readonly version: number;
  readonly node: string;
  readonly isTold: boolean;
}

/** What the outside knows of one thing on a node: what was asked for, and what was acknowledged. */
class Ledger {
  ticket: BlockTicket | undefined;
  /** Whether the lease was acknowledged to last. */
  isLong = false;
  asked = 0;
  acked = 0;

  /** Holds what was found to what is known: also where damage is told, nothing is lost on a sound disk. */
  check({ what, version, node, isTold }: Found, damage: Damage): void {
    // Counted where there is some: a seed in hundreds may have none of one kind.
    if (isTold) sometimes(`damage was told: ${what}`);
    const kind = damage.of(node);
    // A write that went elsewhere may have been the one that was to make the blocks zero.
    if (kind !== "any") {
      const found = `${what}: found ${version}`;
      if (version > this.asked)
        throw new Violation(j2, `${found}, but ${this.asked} is the last that was written`);
      const isLost = version < this.acked;
      if (isLost && kind === "none")
        throw new Violation(damage.lossOn(node), `${found}, but ${this.acked} was acknowledged`);
      if (isLost && !isTold)
        throw new Violation(j3, `${found} of ${this.acked}, and nothing was told`);
    }
    // What was found is what counts from now on.
    this.acked = version;
    this.asked = Math.max(this.asked, version);
  }

  forget(): void {
    this.ticket = undefined;
    this.isLong = false;
    this.asked = 0;
    this.acked = 0;
  }
}

interface Known {
  readonly durable: Ledger;
  readonly handoff: Ledger;
  readonly store: Ledger;
  readonly keys: Map<string, Ledger>;
  /** Lease slots of whose records one copy was told as lost, since their leases were last attached. */
  readonly told: Set<number>;
}

interface Entry {
  readonly version: number;
  readonly filler: string;
}

const utf8 = { encode: (text: string) => Uint8Array.from(Buffer.from(text)), decode: decodeUtf8 };
const entries: Codec<Entry> = jsonCodec<Entry>(utf8);

function decodeUtf8(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}

/** One incarnation. */
class Keeper {
  readonly #node: SimNode;
  readonly #fabric: Fabric;
  readonly #known: Known;
  readonly #sizes: Sizes;
  readonly #damage: Damage;
  readonly #triesMost: number;

  constructor(node: SimNode, fabric: Fabric, known: Known, sizes: Sizes, damage: Damage) {
    this.#node = node;
    this.#fabric = fabric;
    this.#known = known;
    this.#sizes = sizes;
    this.#damage = damage;
    this.#triesMost = node.random.chance(1, 2) ? 4 : 1;
  }

  /** Ends with an error only: of the store, which is then opened anew. */
  async run(): Promise<void> {
    const all = [this.#checkpoints(), this.#handsOff(), this.#puts()];
    try {
      await Promise.all(all);
    } finally {
      // What the others have under way is acknowledged, or fails, before the file is opened again.
      this.#fabric[Symbol.dispose]();
      await Promise.allSettled(all);
    }
  }

  async #blocks(ledger: Ledger, minBlocks: number): Promise<BlockLease> {
    if (ledger.ticket !== undefined)
      try {
        const lease = await this.#fabric.attachBlock(ledger.ticket);
        if (!ledger.isLong) await this.#prolong(lease, ledger);
        this.#known.told.delete(lease.slot);
        sometimes("a lease was attached by the next incarnation");
        return lease;
      } catch (thrown) {
        if (!isFabricError(thrown)) throw thrown;
        // `UNSUPPORTED`: it is of another file, which is gone.
        const isOver = ["LEASE_EXPIRED", "NOT_FOUND", "UNSUPPORTED"].includes(thrown.code);
        if (!isOver) throw thrown;
        const isGone = thrown.code === "UNSUPPORTED";
        // One that has ended is known; one whose grant was acknowledged cannot be unknown, however short it is.
        const mayEnd = thrown.code === "LEASE_EXPIRED" && !ledger.isLong;
        if (!mayEnd) this.#checkEnd(ledger.ticket, thrown.code);
        sometimes("a file was gone, and began anew", isGone);
        ledger.forget();
      }
    // Short at first: one that is granted to nobody, since a failure or a crash took the word of it, ends by itself.
    const lease = await this.#granted(minBlocks);
    ledger.ticket = lease.ticket();
    await this.#prolong(lease, ledger);
    return lease;
  }

  // A lease whose process has died ends at its deadline, and no earlier.
  #checkEnd({ slot }: BlockTicket, code: string): void {
    const { name } = this.#node;
    const kind = this.#damage.of(name);
    if (kind === "any") return;
    if (kind === "none") throw new Violation(this.#loss, `a lease outlives its process: ${code}`);
    // A bit takes one copy of its record; the other has the same, unless that was taken too. Either is told.
    if (!this.#damage.mayDiffer(name) || !this.#known.told.has(slot))
      throw new Violation(j3, `a lease ended early, by a record of slot ${slot}: ${code}`);
    sometimes("a lease ended early, and that was told");
  }

  async #granted(minBlocks: number): Promise<BlockLease> {
    for (;;)
      try {
        return await this.#fabric.block().minBlocks(minBlocks).leaseMs(2_000).acquire();
      } catch (thrown) {
        if (!isFabricError(thrown) || thrown.code !== "CAPACITY_EXCEEDED") throw thrown;
        // Until the one that was granted to nobody has ended, and its blocks are zero.
        await this.#node.sleep(500);
      }
  }

  async #prolong(lease: BlockLease, ledger: Ledger): Promise<void> {
    await lease.renew(10_000_000_000);
    ledger.isLong = true;
  }

  get #isSound(): boolean {
    return this.#damage.of(this.#node.name) === "none";
  }

  get #loss(): string {
    return this.#damage.lossOn(this.#node.name);
  }

  #check(ledger: Ledger, what: string, version: number, isTold: boolean): void {
    ledger.check({ what, version, node: this.#node.name, isTold }, this.#damage);
  }

  // A corrupt record is an answer where the disk was wrong, and nowhere else.
  #damaged(what: string, thrown: unknown, ledger: Ledger, lease: BlockLease): void {
    if (!isFabricError(thrown) || (thrown.code !== "CORRUPT_RECORD" && thrown.code !== "DECODE"))
      throw thrown;
    if (this.#isSound) throw new Violation(this.#loss, `${what}: ${thrown.code} on a sound disk`);
    sometimes("damage was refused");
    lease.release();
    ledger.forget();
  }

  async #checkpoints(): Promise<void> {
    const ledger = this.#known.durable;
    const lease = await this.#blocks(ledger, 6);
    let durable: Durable<Entry>;
    try {
      durable = await Durable.restore(lease, entries, () => ({ version: 0, filler: "" }));
    } catch (thrown) {
      return this.#damaged("Durable", thrown, ledger, lease);
    }
    this.#check(ledger, "Durable", durable.value.version, durable.recovered !== undefined);
    for (;;) {
      const filler = "x".repeat(this.#node.random.below(this.#sizes.valueBytes));
      await durable.mutate(({ version }) => ({ version: version + 1, filler }));
      ledger.asked = durable.value.version;
      await this.#stubbornly(() => durable.checkpoint());
      ledger.acked = durable.value.version;
      this.#node.record("journal.acked", { what: "durable", version: ledger.acked });
      await this.#rest();
    }
  }

  async #handsOff(): Promise<void> {
    const ledger = this.#known.handoff;
    const lease = await this.#blocks(ledger, HandoffWriter.BLOCKS);
    const { leaseId } = this.#fabric.mem().leaseMs(1_000).acquire();
    const reader = new HandoffReader(lease);
    let writer: HandoffWriter;
    try {
      writer = await HandoffWriter.open(lease, "stage");
      const state = await reader.poll();
      const isTold = reader.recovered !== undefined;
      this.#check(ledger, "handoff", state?.locator.generation ?? 0, isTold);
    } catch (thrown) {
      if (thrown instanceof Violation) throw thrown;
      return this.#damaged("handoff", thrown, ledger, lease);
    }
    for (;;) {
      const generation = ++ledger.asked;
      const locator = { kind: "mem", leaseId, slot: 1, generation, offset: 0, bytes: 8 } as const;
      const before = writer.generation;
      const state = await this.#stubbornly(() => writer.publish(locator));
      if (state.generation <= before)
        throw new Violation(l1, `${before}, then ${state.generation}`);
      ledger.acked = generation;
      this.#node.record("journal.acked", { what: "handoff", version: ledger.acked });
      const seen = await reader.poll();
      if (seen !== undefined && seen.locator.generation !== generation)
        throw new Violation(j2, `published ${generation}, read ${seen.generation}`);
      await this.#rest();
    }
  }

  async #puts(): Promise<void> {
    const { store: ledger, keys } = this.#known;
    const { ticket } = ledger;
    const lease = await this.#blocks(ledger, 160);
    // In other blocks nothing was put.
    if (ledger.ticket !== ticket) keys.clear();
    const { clock } = this.#node;
    let store: FabricKvStore<Entry>;
    try {
      const hot = this.#fabric.mem().minBytes(16_384).leaseSecs(1_000_000).acquire();
      store = await FabricKvStore.fromLeases(hot, lease, { value: entries });
      for (const key of keys.keys()) {
        const value = await store.get(key);
        const known = keys.get(key) as Ledger;
        this.#check(known, "store", value?.version ?? 0, store.stats().recovered);
      }
    } catch (thrown) {
      if (thrown instanceof Violation) throw thrown;
      this.#damaged("store", thrown, ledger, lease);
      return keys.clear();
    }
    for (;;) {
      const key = `key ${this.#node.random.below(this.#sizes.keys)}`;
      const known = keys.get(key) ?? new Ledger();
      keys.set(key, known);
      await this.#operate(store, key, known);
      await store.tick(clock.nowMs());
      sometimes("a store compacted its log", store.stats().compactions > 0);
      await this.#rest();
    }
  }

  async #operate(store: FabricKvStore<Entry>, key: string, known: Ledger): Promise<void> {
    const { random } = this.#node;
    if (random.chance(1, 4)) {
      const version = (await store.get(key))?.version ?? 0;
      if (version !== known.acked)
        throw new Violation(j2, `a store: read ${version}, but ${known.acked} was put`);
      return;
    }
    const filler = "x".repeat(random.below(this.#sizes.valueBytes));
    const version = ++known.asked;
    await this.#stubbornly(() => store.put(key, { version, filler }));
    known.acked = version;
    this.#node.record("journal.acked", { what: key, version });
  }

  // J4: some do not take the store's failure for an answer. Whatever they ask, it stays failed.
  async #stubbornly<T>(act: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++)
      try {
        // Where a crash meets what is under way.
        this.#node.record("journal.asked");
        return await act();
      } catch (thrown) {
        if (!isFabricError(thrown) || thrown.code !== "STORE_UNAVAILABLE") throw thrown;
        if (tries >= this.#triesMost) throw thrown;
        sometimes("a store that had failed was asked again");
        await this.#rest();
      }
  }

  // To a common beat: so they meet, and one's sync is about another's writes too.
  #rest(): Promise<void> {
    const { pauseMs } = this.#sizes;
    const beatMs = pauseMs >> 2;
    const restMs = this.#node.random.between(beatMs, pauseMs);
    const late = (this.#node.monotonicMs() + restMs) % beatMs;
    return this.#node.sleep(restMs + beatMs - late);
  }
}

async function program(
  node: SimNode,
  world: World,
  known: Known,
  { sizes, damage }: { readonly sizes: Sizes; readonly damage: Damage },
): Promise<void> {
  node.disks.setCondition({ slowMs: sizes.diskMs });
  for (;;) {
    let fabric: Fabric | undefined;
    try {
      fabric = world.fabric(node, {
        blockFile: "journal",
        blocks: 256,
        blockLeases: 12,
        memoryBytes: 65_536,
        tickMs: 500,
      });
      for (const { slot } of fabric.blockDamage()) known.told.add(slot);
      await new Keeper(node, fabric, known, sizes, damage).run();
      sometimes("all that a node kept was damaged");
    } catch (thrown) {
      if (!isFabricError(thrown)) throw thrown;
      sometimes("a store was opened anew after a failure", thrown.code === "STORE_UNAVAILABLE");
      const isDamage = thrown.code === "CORRUPT_RECORD";
      if (isDamage && damage.of(node.name) === "none")
        throw new Violation(damage.lossOn(node.name), `${thrown.message}, on a sound disk`);
      // What is refused stays as it is: its owner has to decide.
      if (isDamage) damage.refused.add(node.name);
      if (isDamage && fabric === undefined) return;
    }
    fabric?.[Symbol.dispose]();
    await node.sleep(100);
  }
}

// J5: at no step of making a file may a power cut leave half of one under its name, or from its first opening on none.
function filesAreThereWhole(): (occurrence: Occurrence) => boolean {
  const opened = new Set<string>();
  let isLiedTo = false;
  return ({ kind, node, details }) => {
    if (kind === "disk.lied") isLiedTo = true;
    if (kind !== "disk.named" && kind !== "disk.opened") return true;
    const { path, mayBeMissing, mayBeTorn } = details;
    const file = JSON.stringify([node, path]);
    if (kind === "disk.opened") opened.add(file);
    sometimes("a file was made", kind === "disk.named" && details["step"] === "rename");
    return isLiedTo || (mayBeTorn === false && (mayBeMissing === false || !opened.has(file)));
  };
}

// J4: whatever is asked of a store after a sync of it has failed, it acknowledges nothing until it is opened again.
function failedStaysFailed(): (occurrence: Occurrence) => boolean {
  const failed = new Set<string>();
  return ({ kind, node, details }) => {
    if (kind === "disk.failed" && details["what"] === "sync") failed.add(node);
    if (kind === "disk.opened" || kind === "node.crashed") failed.delete(node);
    return kind !== "journal.acked" || !failed.has(node);
  };
}

function acknowledgesAgain(node: string, { refused }: Damage): Check {
  const { name, end } = check.eventually("journal.acked", 28_000, {
    where: (occurrence) => occurrence.node === node,
    name: live,
  });
  return { name, end: (run) => (refused.has(node) ? undefined : end?.(run)) };
}

/** A seed is soon done. */
export const share = 4;

/** See above. */
export const campaign: Campaign = {
  name: "journal",
  swarm(random) {
    const { nodes, kinds } = sizesOf(random);
    // Three times as many crashes: few of them meet a write that is under way.
    const disk: readonly FaultKind[] = ["crash", "diskSlow", "diskFull", "shortIo"];
    const failing: readonly FaultKind[] = [
      "syncError",
      "ioError",
      "bitFlip",
      "misdirect",
      "syncLie",
    ];
    return {
      nodes,
      kinds: [
        ...kinds.filter(
          (kind) => kind === "pause" || disk.includes(kind) || failing.includes(kind),
        ),
        "crash",
        "crash",
      ],
      moments: [
        "disk.synced",
        "journal.acked",
        "journal.asked",
        "journal.asked",
        "node.started",
        "lease.granted",
        "disk.lost",
      ],
      longestMs: 2_000,
    };
  },
  scenario(random) {
    const sizes = sizesOf(random);
    const damage = new Damage();
    return {
      world(world) {
        for (const name of sizes.nodes) {
          const known: Known = {
            durable: new Ledger(),
            handoff: new Ledger(),
            store: new Ledger(),
            keys: new Map(),
            told: new Set(),
          };
          world.node(name, (node) => program(node, world, known, { sizes, damage }));
        }
      },
      invariants: [
        damage.watch,
        ...leaseChecks(),
        check.always(j4, failedStaysFailed()),
        check.always(j5, filesAreThereWhole()),
      ],
      finally: sizes.nodes.map((name) => acknowledgesAgain(name, damage)),
    };
  },
  properties: [a1, a5, j1, j2, j3, j4, j5, j6, l1, live],
  sometimes: [
    "a lease was attached by the next incarnation",
    "a store compacted its log",
    "a store was opened anew after a failure",
    "damage was refused",
    "a store that had failed was asked again",
    "a file was made",
  ],
};
