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
  type FaultKind,
  type Occurrence,
  type RandomStream,
  type SimNode,
  type World,
} from "@selvage/sim";

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

/** What the outside knows of one thing on a node: what was asked for, and what was acknowledged. */
class Ledger {
  ticket: BlockTicket | undefined;
  asked = 0;
  acked = 0;

  /** Holds what was found to what is known: also where damage is told, nothing is lost on a sound disk. */
  check(property: string, found: number, isLiedTo: boolean): void {
    // A write that went elsewhere may have been the one that was to make the blocks zero.
    if (found > this.asked && !isLiedTo)
      throw new Violation(
        property,
        `found ${found}, but ${this.asked} is the last that was written`,
      );
    if (found < this.acked && !isLiedTo)
      throw new Violation(property, `found ${found}, but ${this.acked} was acknowledged`);
    // What was found is what counts from now on.
    this.acked = found;
    this.asked = Math.max(this.asked, found);
  }

  forget(): void {
    this.ticket = undefined;
    this.asked = 0;
    this.acked = 0;
  }
}

interface Known {
  readonly durable: Ledger;
  readonly handoff: Ledger;
  readonly store: Ledger;
  readonly keys: Map<string, Ledger>;
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
  readonly #isLiedTo: () => boolean;
  readonly #triesMost: number;

  constructor(node: SimNode, fabric: Fabric, known: Known, sizes: Sizes, isLiedTo: () => boolean) {
    this.#node = node;
    this.#fabric = fabric;
    this.#known = known;
    this.#sizes = sizes;
    this.#isLiedTo = isLiedTo;
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
        sometimes("a lease was attached by the next incarnation");
        return lease;
      } catch (thrown) {
        if (!isFabricError(thrown)) throw thrown;
        const isOver = thrown.code === "LEASE_EXPIRED" || thrown.code === "NOT_FOUND";
        if (!isOver) throw thrown;
        if (!this.#isLiedTo())
          throw new Violation("J1: a lease outlives its process", `${thrown.code} of a long lease`);
        ledger.forget();
      }
    const lease = await this.#fabric.block().minBlocks(minBlocks).leaseSecs(10_000_000).acquire();
    ledger.ticket = lease.ticket();
    return lease;
  }

  // A corrupt record is an answer where the disk was wrong, and nowhere else.
  #damaged(property: string, thrown: unknown, ledger: Ledger, lease: BlockLease): void {
    if (!isFabricError(thrown) || (thrown.code !== "CORRUPT_RECORD" && thrown.code !== "DECODE"))
      throw thrown;
    if (!this.#isLiedTo()) throw new Violation(property, `${thrown.code} on a sound disk`);
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
      return this.#damaged("J3: Durable", thrown, ledger, lease);
    }
    if (durable.recovered !== undefined) sometimes("damage was told");
    ledger.check("J1: Durable", durable.value.version, this.#isLiedTo());
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
      if (reader.recovered !== undefined) sometimes("damage was told");
      ledger.check("J1: handoff", state?.locator.generation ?? 0, this.#isLiedTo());
    } catch (thrown) {
      if (thrown instanceof Violation) throw thrown;
      return this.#damaged("J3: handoff", thrown, ledger, lease);
    }
    for (;;) {
      const generation = ++ledger.asked;
      const locator = { kind: "mem", leaseId, slot: 1, generation, offset: 0, bytes: 8 } as const;
      const before = writer.generation;
      const state = await this.#stubbornly(() => writer.publish(locator));
      if (state.generation <= before)
        throw new Violation("L1: epochs strictly increase", `${before}, then ${state.generation}`);
      ledger.acked = generation;
      this.#node.record("journal.acked", { what: "handoff", version: ledger.acked });
      const seen = await reader.poll();
      if (seen !== undefined && seen.locator.generation !== generation)
        throw new Violation("J2: old or new", `published ${generation}, read ${seen.generation}`);
      await this.#rest();
    }
  }

  async #puts(): Promise<void> {
    const { store: ledger, keys } = this.#known;
    const lease = await this.#blocks(ledger, 160);
    const { clock } = this.#node;
    let store: FabricKvStore<Entry>;
    try {
      const hot = this.#fabric.mem().minBytes(16_384).leaseSecs(1_000_000).acquire();
      store = await FabricKvStore.fromLeases(hot, lease, { value: entries });
      for (const key of keys.keys()) {
        const value = await store.get(key);
        if (store.stats().recovered) sometimes("damage was told");
        (keys.get(key) as Ledger).check("J1: store", value?.version ?? 0, this.#isLiedTo());
      }
    } catch (thrown) {
      if (thrown instanceof Violation) throw thrown;
      this.#damaged("J3: store", thrown, ledger, lease);
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
        throw new Violation("J2: store", `read ${version}, but ${known.acked} was put`);
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

async function program(node: SimNode, world: World, known: Known, sizes: Sizes): Promise<void> {
  const { kernel } = world;
  node.disks.setCondition({ slowMs: sizes.diskMs });
  const isLiedTo = (): boolean =>
    ["disk.flipped", "disk.misdirected", "disk.lied"].some((kind) => kernel.count(kind) > 0);
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
      await new Keeper(node, fabric, known, sizes, isLiedTo).run();
      sometimes("all that a node kept was damaged");
    } catch (thrown) {
      if (!isFabricError(thrown)) throw thrown;
      sometimes("a store was opened anew after a failure", thrown.code === "STORE_UNAVAILABLE");
      const isDamage = thrown.code === "CORRUPT_RECORD";
      if (isDamage && !isLiedTo())
        throw new Violation("J3: block file", `${thrown.message}, on a sound disk`);
      // A file that is refused stays as it is: its owner has to decide.
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

const j4 = "J4: a failed sync fails the store until it is opened again";
const j5 = "J5: a file is made durable with its name, and never torn under it";

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
    return {
      world(world) {
        for (const name of sizes.nodes) {
          const known: Known = {
            durable: new Ledger(),
            handoff: new Ledger(),
            store: new Ledger(),
            keys: new Map(),
          };
          world.node(name, (node) => program(node, world, known, sizes));
        }
      },
      invariants: [
        check.conservation(),
        check.singleTerminalState(),
        check.always(j4, failedStaysFailed()),
        check.always(j5, filesAreThereWhole()),
      ],
    };
  },
  properties: [
    "J1: what was acknowledged is recovered",
    "J2: old or new, never mixed",
    "J3: corruption is reported",
    j4,
    j5,
    "J6: no space, short and failing operations lose nothing that was acknowledged",
    "L1: generations strictly increase over restarts",
  ],
  sometimes: [
    "a lease was attached by the next incarnation",
    "a store compacted its log",
    "a store was opened anew after a failure",
    "damage was refused",
    "a store that had failed was asked again",
    "a file was made",
  ],
};
