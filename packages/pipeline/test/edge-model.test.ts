/* oxlint-disable vitest/no-standalone-expect -- the model is run inside the test */
/** E3, against a model: whatever is done to an edge, the consumer's numbers go up one by one, but for what is told as lost. */
import fc from "fast-check";
import { FabricError, isFabricError, type MemLease } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import type { EdgeEvent, LostItems } from "../src/edge/edge-events.ts";
import type { RelocatableQueueEdge } from "../src/edge/relocatable-queue-edge.ts";
import {
  itemOf,
  numberOf,
  openReader,
  openWriter,
  scribble,
  Stage,
  takeOver,
  type Shape,
} from "./edge-rig.ts";

type Step =
  | { readonly do: "push" | "pop"; readonly count: number }
  | { readonly do: "pass"; readonly ms: number }
  | { readonly do: "scribble"; readonly word: number; readonly value: number }
  | { readonly do: "acknowledge" | "expire" | "release" | "revoke" | "relocate" | "follow" }
  | { readonly do: "replaceConsumer"; readonly knows: boolean }
  | { readonly do: "replaceProducer"; readonly back: number };

// The word of its seal: a value's length and its bytes carry nothing that tells a stray write.
const slotWord = (index: number): number => 257 + index * 6;

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constantFrom("push", "pop"),
      count: fc.integer({ min: 1, max: 12 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(1, 12, 40, 400) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom("acknowledge", "expire", "release", "revoke", "relocate", "follow"),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("replaceConsumer" as const), knows: fc.boolean() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("replaceProducer" as const),
      back: fc.integer({ min: 0, max: 6 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("scribble" as const),
      word: fc.oneof(fc.nat({ max: 255 }), fc.nat({ max: 7 }).map(slotWord)),
      value: fc.integer(),
    }),
  },
) as fc.Arbitrary<Step>;

/** One edge, and what may be seen of it. */
class Model {
  readonly stage: Stage;
  readonly shape: Shape;
  readonly isManual: boolean;
  producer!: RelocatableQueueEdge;
  consumer!: RelocatableQueueEdge;
  // Numbers accepted; what each consumer has been given, and what it has been told is lost.
  accepted = 0;
  #expected = 0;
  readonly sink = new Set<number>();
  readonly told = new Set<number>();
  // What the sink has for sure: a consumer that dies leaves it.
  dealtWith = 0;
  // Damage can hide that its memory was damaged from nobody but the bytes themselves.
  isDamaged = false;
  isReplaced = false;

  constructor(stage: Stage, shape: Shape, isManual: boolean) {
    this.stage = stage;
    this.shape = shape;
    this.isManual = isManual;
  }

  get #options(): { acknowledge: "manual" | "auto"; leaseMs: number } {
    return { acknowledge: this.isManual ? "manual" : "auto", leaseMs: 1_000 };
  }

  async open(): Promise<void> {
    this.producer = (await openWriter(this.stage, this.shape, this.#options)).edge;
    await this.#openConsumer(undefined);
  }

  async run(step: Step): Promise<void> {
    const lease = this.#lease();
    switch (step.do) {
      case "push":
        for (let count = 0; count < step.count && this.#push(); count++);
        break;
      case "pop":
        for (let count = 0; count < step.count && this.#pop(); count++);
        break;
      case "pass":
        await this.stage.advance(step.ms);
        break;
      case "acknowledge":
        if (this.isManual && this.consumer.sequence >= 0) this.#acknowledge();
        break;
      case "expire":
        if (lease !== undefined) await this.stage.advance(lease.expiresAtMs - this.stage.nowMs);
        break;
      case "release":
        lease?.release();
        break;
      case "revoke":
        lease?.revoke();
        void this.#tried(this.producer.relocate());
        await this.stage.advance(1);
        break;
      case "relocate":
        void this.#tried(this.producer.relocate());
        break;
      case "follow":
        void this.#tried(this.consumer.relocate());
        break;
      case "scribble":
        // Where the headers of short values are is not known beforehand.
        if (this.shape.records && step.word > 257) break;
        if (lease !== undefined) scribble(lease, step.word, step.value);
        this.isDamaged ||= lease !== undefined;
        break;
      case "replaceConsumer":
        await this.#replaceConsumer(step.knows);
        break;
      case "replaceProducer":
        await this.#replaceProducer(step.back);
        break;
    }
    // Between the death of one and the next, two for the length of a move; one more while a predecessor's is read out.
    expect(this.stage.memLeases.length).toBeLessThanOrEqual(3);
    const window = this.shape.capacity * 2;
    expect(this.producer.stats().unacknowledged).toBeLessThanOrEqual(window);
  }

  /** All that can be done is done: everything accepted was given to somebody, or told. */
  async end(): Promise<void> {
    const closing = { isBegun: false };
    for (let turn = 0; turn < 400 && !this.consumer.isOver; turn++) {
      this.#pop();
      if (this.isManual && this.consumer.sequence >= 0) this.#acknowledge();
      await this.stage.advance(3);
      // A source that begins again gives the same again.
      while (!closing.isBegun && this.producer.nextSequence < this.accepted && this.#push());
      if (turn > 5 && !closing.isBegun && this.producer.nextSequence >= this.accepted) {
        closing.isBegun = true;
        void this.#close();
      }
    }
    expect(this.consumer.isOver, "E6: the stream has ended").toBe(true);
    if (this.isManual && this.consumer.sequence >= 0) this.#acknowledge();
    const missing = [...Array(this.accepted).keys()].filter(
      (number) => !this.sink.has(number) && !this.told.has(number),
    );
    expect(missing, "E3: given, or told as lost").toEqual([]);
    await this.stage.advance(2_500);
    expect(this.stage.memLeases.length, "all memory was given back").toBe(0);
  }

  async #close(): Promise<void> {
    for (;;) {
      try {
        return await this.producer.close();
      } catch (error) {
        if (!isFabricError(error) || error.code !== "REVOKED") throw error;
        await this.#tried(this.producer.relocate());
      }
    }
  }

  #lease(): MemLease | undefined {
    return this.stage.memLeases.at(-1);
  }

  #push(): boolean {
    try {
      const { nextSequence } = this.producer;
      if (!this.producer.push(itemOf(nextSequence))) return false;
      expect(this.producer.nextSequence, "numbers go up by one").toBe(nextSequence + 1);
      this.accepted = Math.max(this.accepted, nextSequence + 1);
      return true;
    } catch (error) {
      if (!isFabricError(error) || error.code !== "REVOKED") throw error;
      // Admitted again.
      void this.#tried(this.producer.relocate());
      return false;
    }
  }

  #pop(): boolean {
    try {
      const bytes = this.consumer.pop();
      if (bytes === undefined) return false;
      const number = numberOf(bytes);
      expect(this.consumer.sequence, "an item has its own number").toBe(number);
      expect(number, "E3: the next one").toBe(this.#expected);
      this.#expected = number + 1;
      this.sink.add(number);
      if (!this.isManual) this.dealtWith = number;
      return true;
    } catch (error) {
      if (!isFabricError(error) || error.code !== "REVOKED") throw error;
      // Admitted again.
      void this.#tried(this.producer.relocate());
      return false;
    }
  }

  #acknowledge(): void {
    this.consumer.acknowledge();
    this.dealtWith = this.consumer.sequence + 1;
  }

  #hear(event: EdgeEvent): void {
    if (event.type === "lost") this.#lose(event.items);
  }

  #lose(items: LostItems): void {
    if (items === "unknown") throw new FabricError("INVALID_ARGUMENT", "nobody said unknown");
    expect(items.from, "what is told begins with what came next").toBe(this.#expected);
    for (let number = items.from; number < items.to; number++) this.told.add(number);
    this.#expected = items.to;
  }

  async #openConsumer(from: number | undefined): Promise<void> {
    const opened = openReader(this.stage, {
      ...this.#options,
      ...(from === undefined ? {} : { from }),
      onEvent: (event) => this.#hear(event),
    });
    this.consumer = await this.stage.until(opened);
  }

  // One that knows goes on where the sink is; one that does not takes what was not acknowledged.
  async #replaceConsumer(knows: boolean): Promise<void> {
    this.consumer[Symbol.dispose]();
    // A ring that is over now is found by the producer.
    await this.stage.advance(30);
    await this.stage.until(this.#tried(this.producer.relocate()));
    // What a producer before this one has pushed and nobody has any more, only who knows its place can miss.
    const from = knows || this.isReplaced ? this.#expected : undefined;
    this.#expected = from ?? this.#oldest();
    await this.#openConsumer(from);
  }

  #oldest(): number {
    return this.producer.nextSequence - this.producer.stats().unacknowledged;
  }

  async #replaceProducer(back: number): Promise<void> {
    const lease = this.#lease();
    if (lease?.isLive !== true || this.isDamaged) return;
    const from = Math.max(0, this.producer.nextSequence - back);
    this.producer[Symbol.dispose]();
    this.isReplaced = true;
    await this.stage.advance(1);
    try {
      this.producer = (await takeOver(this.stage, { ...this.#options, from })).edge;
    } catch (error) {
      if (!isFabricError(error)) throw error;
      // The ring was on its way: the next one makes its own.
      this.producer = (await openWriter(this.stage, this.shape, { ...this.#options, from })).edge;
      for (const old of this.stage.memLeases.slice(0, -1)) old.release();
    }
  }

  async #tried(run: Promise<void>): Promise<void> {
    try {
      await run;
    } catch (error) {
      if (!isFabricError(error)) throw error;
    }
  }
}

const shapes: fc.Arbitrary<Shape> = fc.record({
  capacity: fc.constantFrom(1, 2, 3, 8, 40),
  stride: fc.constant(16),
  records: fc.boolean(),
});

describe("an edge against a model", { timeout: 300_000 }, () => {
  it("E3: every item once, in order, with what is missing told, whatever happens to its rings", async () => {
    await fc.assert(
      fc.asyncProperty(
        shapes,
        fc.boolean(),
        fc.array(anyStep, { maxLength: 40, size: "max" }),
        async (shape, isManual, steps) => {
          const model = new Model(await Stage.open(), shape, isManual);
          await model.open();
          for (const each of steps) await model.run(each);
          await model.end();
        },
      ),
      { numRuns: 25 },
    );
  });
});
