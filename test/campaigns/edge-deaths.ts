/**
 * Streams whose ends die: with their node, or each by itself, and are replaced. The source gives the same again from any
 * number; the sink, on another node, keeps the next number with what it has, in one step, and lets in the newest consumer only.
 */
import { isFabricError } from "@selvage/fabric";
import type { RelocatableQueueEdge } from "@selvage/pipeline";
import { sometimes, Violation } from "@selvage/sim";
import type { EdgeApply, EdgePromise } from "./edge-sink.ts";
import { attempt, tried, type EdgeStage } from "./edge-stage.ts";
import type { Rpc } from "./rpc.ts";

/** Names of what is held to here. */
export const consumerRow = "E3: the consumer died: once at a sink that stores numbers with effects";
export const producerRow =
  "E3: the producer died, its ring alive: what was published drains, the rest comes again";
export const bothRow = "E3: both died: resumed from the checkpoints, or told as lost or unknown";

const answerMs = 400;

interface Consumer {
  readonly edge: RelocatableQueueEdge;
  readonly epoch: number;
  readonly holder: string;
  told: readonly { from: number; to: number }[];
  isOver: boolean;
}

/** One incarnation's share of a stream. */
export class Deaths {
  readonly #stage: EdgeStage;
  readonly #rpc: Rpc;
  readonly #sink: string;
  readonly #resource: string;
  #producer!: RelocatableQueueEdge;
  #consumer!: Consumer;
  #row = bothRow;
  #isUnknown = false;
  #consumers = 0;

  constructor(stage: EdgeStage, rpc: Rpc, sink: string) {
    this.#stage = stage;
    this.#rpc = rpc;
    this.#sink = sink;
    this.#resource = stage.node.name;
  }

  async run(): Promise<void> {
    const { node, random } = this.#stage;
    const { epoch, next } = await this.#seal();
    sometimes("both ends were resumed from what the sink has", next > 0);
    this.#producer = await this.#stage.openProducer({ from: next });
    this.#consumer = await this.#open(epoch, next, random.chance(1, 8));
    const untilMs = node.clock.nowMs() + random.spread(500, 6_000);
    while (node.clock.nowMs() < untilMs) {
      for (let count = random.below(12); count > 0 && this.#push(); count--);
      if (random.chance(2, 3)) await this.#deliver();
      if (random.chance(1, 6)) this.#stage.disturb(this.#producer, this.#consumer.edge);
      if (this.#consumer.isOver || random.chance(1, 10)) await this.#replaceConsumer();
      if (random.chance(1, 12)) await this.#replaceProducer();
      await node.sleep(random.spread(1, 100));
    }
    this.#stage.clearSkies();
    await this.#drain();
  }

  #push(): boolean {
    return attempt(
      this.#producer,
      () => {
        const { nextSequence } = this.#producer;
        return this.#producer.push(this.#stage.value(nextSequence));
      },
      false,
    );
  }

  // What is there, in one step to the sink; and only then acknowledged.
  async #deliver(consumer: Consumer = this.#consumer): Promise<void> {
    const { edge, epoch, holder } = consumer;
    const values: number[] = [];
    for (let count = 0; count < 16; count++) {
      const bytes = attempt(edge, () => edge.pop(), undefined);
      if (bytes === undefined) break;
      const value = this.#stage.numberOf(bytes);
      if (value !== edge.sequence)
        throw new Violation(this.#row, `item ${value} came as ${edge.sequence}`);
      values.push(value);
    }
    if (values.length === 0) return;
    const { told } = consumer;
    const apply: EdgeApply = { resource: this.#resource, holder, epoch, values, told: [...told] };
    while (!consumer.isOver) {
      try {
        await this.#rpc.call(this.#sink, "apply", apply, answerMs);
        break;
      } catch (error) {
        if (!isFabricError(error)) throw error;
        if (error.code === "CORRUPT_RECORD") throw new Violation(this.#row, error.message);
        if (error.code === "STALE_EPOCH") consumer.isOver = true;
        sometimes("a sink refused a consumer that was replaced", error.code === "STALE_EPOCH");
      }
    }
    if (!consumer.isOver) attempt(edge, () => edge.acknowledge(values.at(-1)), undefined);
  }

  async #replaceConsumer(): Promise<void> {
    const before = this.#consumer;
    this.#row = consumerRow;
    // Killed with items that it has not dealt with; sometimes it is not dead, and goes on at the sink.
    for (let count = this.#stage.random.below(4); count > 0; count--)
      attempt(before.edge, () => before.edge.pop(), undefined);
    before.edge[Symbol.dispose]();
    const { epoch, next } = await this.#seal();
    this.#consumer = await this.#open(epoch, next, false);
    sometimes("a consumer was replaced");
    const { resource, holder } = { resource: this.#resource, holder: before.holder };
    const late = { resource, holder, epoch: before.epoch, values: [next], told: [] };
    if (this.#stage.random.chance(1, 2))
      sometimes(
        "a dead consumer's late effect was refused",
        !(await tried(this.#rpc.call(this.#sink, "apply", late, answerMs))),
      );
  }

  async #replaceProducer(): Promise<void> {
    const { next } = await this.#seal(this.#consumer.epoch);
    this.#row = producerRow;
    this.#producer[Symbol.dispose]();
    const from = Math.max(0, next - this.#stage.random.below(3));
    for (;;) {
      try {
        this.#producer = await this.#stage.takeOver({ from });
        sometimes("a producer took over a ring that stands");
        return;
      } catch (error) {
        if (!isFabricError(error)) throw error;
      }
      try {
        this.#producer = await this.#stage.openProducer({ from });
        sometimes("a producer began in a ring of its own");
        return;
      } catch (error) {
        if (!isFabricError(error)) throw error;
        this.#stage.clearSkies();
        await this.#stage.node.sleep(20);
      }
    }
  }

  async #drain(): Promise<void> {
    const stream = { isClosed: false };
    const close = async (): Promise<void> => {
      while (!stream.isClosed && !(await tried(this.#producer.close()))) {
        await this.#stage.node.sleep(20);
        await tried(this.#producer.relocate());
      }
      stream.isClosed = true;
    };
    void close();
    while (!(stream.isClosed && this.#consumer.edge.isOver)) {
      await this.#deliver();
      // Asked for twice, an epoch was given twice: whoever heard of the first is replaced by nobody. With everything dealt with,
      // there is nothing left for another.
      if (this.#consumer.isOver && !(await tried(this.#replaceConsumer()))) break;
      await this.#stage.node.sleep(20);
    }
    this.#consumer.edge[Symbol.dispose]();
    // Where nothing is left for another, the producer may be at it still: its next rings would be found by the next episode.
    stream.isClosed = true;
    this.#producer[Symbol.dispose]();
  }

  async #open(epoch: number, next: number, isAtSea: boolean): Promise<Consumer> {
    const consumer: { -readonly [K in keyof Consumer]: Consumer[K] } = {
      edge: undefined as unknown as RelocatableQueueEdge,
      epoch,
      holder: `${this.#resource}.${this.#stage.node.incarnation}.${++this.#consumers}`,
      told: [],
      isOver: false,
    };
    this.#isUnknown = false;
    const opening = this.#stage.openConsumer({
      acknowledge: "manual",
      from: isAtSea ? "unknown" : next,
      onEvent: (event) => {
        if (event.type !== "lost") return;
        if (event.items === "unknown") this.#isUnknown = true;
        else consumer.told = [...consumer.told, event.items];
      },
    });
    // A producer that gave up, or was revoked, is told to try again; nobody else would.
    let isOpening = true;
    void opening.finally(() => (isOpening = false)).catch(() => {});
    for (;;) {
      await this.#stage.node.sleep(30);
      if (!isOpening) break;
      this.#stage.clearSkies();
      if (this.#stage.rings.length === 0) void tried(this.#producer.relocate());
    }
    consumer.edge = await opening;
    if (isAtSea) {
      if (!this.#isUnknown) throw new Violation(bothRow, "nothing was told as unknown");
      sometimes("a consumer that cannot know was told so");
    }
    return consumer;
  }

  // A new epoch, or the one that stands; and what the sink has.
  async #seal(epoch?: number): Promise<EdgePromise> {
    const { node } = this.#stage;
    const holder = `${this.#resource}.${node.incarnation}`;
    for (;;) {
      try {
        const ask = { resource: this.#resource, holder, epoch };
        return await this.#rpc.call<EdgePromise>(this.#sink, "seal", ask, answerMs);
      } catch (error) {
        if (!isFabricError(error)) throw error;
        await node.sleep(50);
      }
    }
  }
}
