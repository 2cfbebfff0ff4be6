/** An edge over two block files, with both ends in one process: what each outcome looks like. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  BLOCK_BYTES,
  FabricError,
  isFabricError,
  type BlockLease,
  type Codec,
} from "@selvage/fabric";
import { Fabric, msgpackCodec } from "@selvage/node";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { BatchSlots, decodeBatch, encodeBatch } from "../src/block-edge/block-edge-batches.ts";
import {
  BlockEdgeConsumer,
  type BlockConsumerOptions,
} from "../src/block-edge/block-edge-consumer.ts";
import {
  BlockEdgeProducer,
  type BlockProducerOptions,
} from "../src/block-edge/block-edge-producer.ts";

const codec = msgpackCodec<number>();
// So long that no batch of one block takes two.
const oneASlot: Codec<number> = {
  ...codec,
  encode: (item) => new Uint8Array(300).fill(item),
  decode: (bytes) => bytes[0] as number,
};
let folder = "";
beforeEach(() => (folder = mkdtempSync(path.join(tmpdir(), "selvage-block-edge-"))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const own = (who: string): Fabric =>
  Fabric.open({
    memoryBytes: 65_536,
    blocks: 256,
    blockLeases: 8,
    blockFile: path.join(folder, who),
  });
const peer = (who: string) => (): Fabric =>
  Fabric.open({ memoryBytes: 65_536, blockFile: path.join(folder, who), blockAccess: "read" });

const produce = (
  fabric: Fabric,
  options: Partial<BlockProducerOptions<number>> = {},
): Promise<BlockEdgeProducer<number>> =>
  BlockEdgeProducer.open(fabric, "numbers", {
    codec,
    peer: peer("consumer"),
    slots: 4,
    slotBlocks: 1,
    ...options,
  });
const consume = (
  fabric: Fabric,
  options: Partial<BlockConsumerOptions<number>> = {},
): Promise<BlockEdgeConsumer<number>> =>
  BlockEdgeConsumer.open(fabric, "numbers", {
    codec,
    peer: peer("producer"),
    slotBlocks: 1,
    ...options,
  });
const dataOf = (fabric: Fabric): BlockLease =>
  fabric
    .leases()
    .find((lease): lease is BlockLease => lease.label === "numbers.data") as BlockLease;
const codeOf = (error: unknown): unknown => (isFabricError(error) ? error.code : error);

describe("batches", () => {
  const batch = {
    batch: 7,
    first: 41,
    items: [Uint8Array.of(1, 2), new Uint8Array(), Uint8Array.of(3)],
    isLast: false,
  };

  it("come back as they were", () => {
    expect(decodeBatch(encodeBatch(batch))).toEqual(batch);
    const last = { ...batch, items: [], isLast: true };
    expect(decodeBatch(encodeBatch(last))).toEqual(last);
  });

  it("J3: with any byte of header or items changed they are not there", () => {
    const bytes = encodeBatch(batch);
    for (let at = 0; at < 64 + 15; at++) {
      if (at >= 36 && at < 40) continue;
      if (at >= 48 && at < 64) continue;
      const torn = bytes.slice();
      torn[at] = (torn[at] as number) ^ 0x40;
      expect(decodeBatch(torn), String(at)).toBeUndefined();
    }
  });
});

describe("an edge over two block files", () => {
  it("carries items in order, through fewer slots than there are batches, to the end", async () => {
    await using there = own("producer");
    await using here = own("consumer");
    await using producer = await produce(there);
    await using consumer = await consume(here);
    const count = 3_000;
    const sent = (async () => {
      for (let item = 0; item < count; item++) await producer.send(item);
      await producer.close({ timeoutMs: 20_000 });
    })();
    const seen: number[] = [];
    for await (const item of consumer) {
      expect(consumer.sequence).toBe(item);
      seen.push(item);
      if (item % 50 === 0) await consumer.acknowledge();
    }
    await consumer.acknowledge();
    await sent;
    expect(seen).toEqual(Array.from({ length: count }, (_, item) => item));
    expect(dataOf(there)).toBeUndefined();
  });

  it("waits while the consumer is as far behind as there are slots", async () => {
    await using there = own("producer");
    await using producer = await produce(there, { codec: oneASlot });
    // Four slots, and one batch to come.
    for (let item = 0; item < 5; item++) expect(await producer.send(item)).toBe(true);
    expect(await producer.send(5, { timeoutMs: 50 })).toBe(false);
    expect(producer.nextSequence).toBe(5);
    await using here = own("consumer");
    await using consumer = await consume(here, { codec: oneASlot });
    for (let item = 0; item < 2; item++) expect(await consumer.popAsync()).toBe(item);
    expect(await producer.send(5, { timeoutMs: 50 })).toBe(false);
    await consumer.acknowledge();
    for (let item = 5; item < 7; item++) expect(await producer.send(item)).toBe(true);
    expect(await producer.send(7, { timeoutMs: 50 })).toBe(false);
    for (let item = 2; item < 6; item++) expect(await consumer.popAsync()).toBe(item);
  });

  it("accepts items in the order of their calls, whether or not each was waited for", async () => {
    await using there = own("producer");
    await using producer = await produce(there, { codec: oneASlot, lingerMs: 0 });
    await using here = own("consumer");
    await using consumer = await consume(here, { codec: oneASlot });
    const wanted = Array.from({ length: 60 }, (_, item) => item);
    const sends: Promise<boolean>[] = [];
    // Some come while others wait for room.
    const sent = (async () => {
      for (const item of wanted) {
        sends.push(producer.send(item));
        // Until what lingers is being written.
        for (let turn = 0; turn < 100; turn++)
          await new Promise((resolve) => setImmediate(resolve));
      }
      return Promise.all(sends);
    })();
    const seen: number[] = [];
    while (seen.length < wanted.length) {
      const item = await consumer.popAsync({ timeoutMs: 10_000 });
      if (item === undefined) break;
      seen.push(item);
      await consumer.acknowledge();
    }
    expect(seen).toEqual(wanted);
    expect(new Set(await sent)).toEqual(new Set([true]));
  });

  it("E3: either end goes on where it was when its process has come back", async () => {
    const seen: number[] = [];
    const acknowledged: number[] = [];
    for (let life = 0; life < 3; life++) {
      await using there = own("producer");
      await using here = own("consumer");
      await using producer = await produce(there, { slots: 32, lingerMs: 60_000 });
      await using consumer = await consume(here);
      expect(consumer.sequence).toBe((acknowledged.at(-1) ?? 0) - 1);
      for (let next = producer.nextSequence; next < (life + 1) * 100; next++)
        await producer.send(next);
      await producer.flush();
      // Accepted, never durable: the next life's source sends them again.
      await producer.send(-1);
      for (let item = 0; item < 60; item++) {
        seen.push((await consumer.popAsync({ timeoutMs: 2_000 })) as number);
        if (item === 39) await consumer.acknowledge();
      }
      acknowledged.push(consumer.stats().acknowledged);
    }
    expect(acknowledged).toEqual([40, 80, 120]);
    expect(seen).toEqual(
      [0, 40, 80].flatMap((from) => Array.from({ length: 60 }, (_, at) => from + at)),
    );
  });

  it("goes on in a new lease when its data are lost, with what was not acknowledged", async () => {
    await using there = own("producer");
    await using here = own("consumer");
    await using producer = await produce(there);
    await using consumer = await consume(here);
    for (let item = 0; item < 20; item++) await producer.send(item);
    await producer.flush();
    for (let item = 0; item < 5; item++) await consumer.popAsync();
    await consumer.acknowledge();
    const lost = dataOf(there);
    lost.release();
    await lost.settle();
    await producer.send(20);
    await producer.flush();
    expect(producer.stats().relocations).toBe(1);
    for (let item = 5; item <= 20; item++)
      expect(await consumer.popAsync({ timeoutMs: 5_000 })).toBe(item);
  });

  it("E6: notices that its items' lease is over while nobody sends, and ends REVOKED where that is why", async () => {
    await using there = own("producer");
    await using here = own("consumer");
    await using producer = await produce(there);
    for (let item = 0; item < 3; item++) await producer.send(item);
    await producer.flush();
    const before = dataOf(there);
    before.release();
    await before.settle();
    await using consumer = await consume(here);
    for (let item = 0; item < 3; item++)
      expect(await consumer.popAsync({ timeoutMs: 20_000 })).toBe(item);
    dataOf(there).revoke();
    // Taken away: whoever opens it again is let in again, with what its source gives.
    expect(await producer.close().catch(codeOf)).toBe("REVOKED");
    await producer[Symbol.asyncDispose]();
    await consumer.acknowledge();
    await using again = await produce(there);
    expect(again.nextSequence).toBe(3);
    await again.send(3);
    expect(await consumer.popAsync({ timeoutMs: 20_000 })).toBe(3);
  });

  it("E6: is followed to a new lease whose first batches were acknowledged in the one before", async () => {
    await using there = own("producer");
    await using here = own("consumer");
    await using producer = await produce(there, { slots: 1 });
    await using consumer = await consume(here, { from: 0 });
    await producer.send(0);
    await producer.flush();
    expect(await consumer.popAsync()).toBe(0);
    const lost = dataOf(there);
    lost.release();
    await lost.settle();
    await producer.send(1);
    const flushed = producer.flush();
    await consumer.acknowledge();
    // Item 0 was written to the new lease, and its slot is item 1's by now.
    await flushed;
    expect(await consumer.popAsync({ timeoutMs: 20_000 })).toBe(1);
  });

  it("E6: a consumer whose acknowledgements are gone says so, and lets its producer end when it is opened anew", async () => {
    await using there = own("producer");
    await using here = own("consumer");
    await using producer = await produce(there);
    await producer.send(0);
    {
      await using consumer = await consume(here);
      expect(await consumer.popAsync()).toBe(0);
      await consumer.acknowledge();
      const acks = here.leases().find((lease) => lease.label === "numbers.acks") as BlockLease;
      acks.release();
      await acks.settle();
      expect(await consumer.acknowledge().catch(codeOf)).toBe("LEASE_EXPIRED");
    }
    const closed = producer.close();
    await using consumer = await consume(here, { from: 1 });
    expect(await consumer.popAsync()).toBeUndefined();
    expect(consumer.isOver).toBe(true);
    await consumer.acknowledge();
    await closed;
  });

  it("E6: is found also when the lease of its record is over, and its items' is not", async () => {
    await using there = own("producer");
    await using here = own("consumer");
    await using producer = await produce(there);
    await producer.send(0);
    await producer.flush();
    const record = there.leases().find((lease) => lease.label === "numbers.handoff") as BlockLease;
    record.release();
    await record.settle();
    await using consumer = await consume(here);
    expect(await consumer.popAsync({ timeoutMs: 20_000 })).toBe(0);
  });

  it("tells what is lost when the source goes on further than the consumer has come", async () => {
    await using here = own("consumer");
    {
      await using there = own("producer");
      await using producer = await produce(there);
      for (let item = 0; item < 10; item++) await producer.send(item);
      await producer.flush();
    }
    rmSync(path.join(folder, "producer"));
    const lost: unknown[] = [];
    await using consumer = await consume(here, { onLost: (items) => lost.push(items) });
    await using there = own("producer");
    await using producer = await produce(there, { from: 10 });
    // The consumer has acknowledged nothing: it does not say where to go on.
    expect(producer.nextSequence).toBe(10);
    await producer.send(10);
    await producer.flush();
    expect(await consumer.popAsync({ timeoutMs: 2_000 })).toBe(10);
    expect(lost).toEqual([{ from: 0, to: 10 }]);
  });

  it("reads no batch that was not written whole", async () => {
    await using there = own("producer");
    await using producer = await produce(there);
    for (let item = 0; item < 3; item++) await producer.send(item);
    await producer.flush();
    await producer.send(3);
    await producer.flush();
    const data = dataOf(there);
    const slots = new BatchSlots(data, 1);
    expect(await slots.all()).toHaveLength(2);
    const torn = await data.readBlock(1);
    torn[68] = (torn[68] as number) ^ 1;
    await data.writeBlock(1, torn);
    expect(await slots.all()).toHaveLength(1);
    await producer[Symbol.asyncDispose]();
    await using again = await produce(there);
    expect(again.nextSequence).toBe(3);
  });

  it.each([
    ["acknowledged", 1, true],
    ["acknowledged", 2, true],
    ["read", 1, false],
    ["read", 2, false],
  ])(
    "E3: a batch that was %s, and lost with the power before it was durable, comes again in %i: each item once",
    async (_what, batches, isAcknowledged) => {
      await using there = own("producer");
      await using here = own("consumer");
      await using consumer = await consume(here);
      {
        await using producer = await produce(there, { lingerMs: 60_000 });
        for (let item = 0; item < 3; item++) await producer.send(item);
        await producer.flush();
        for (let item = 3; item < 5; item++) await producer.send(item);
        await producer.flush();
        for (let item = 0; item < 5; item++) expect(await consumer.popAsync()).toBe(item);
        if (isAcknowledged) await consumer.acknowledge();
      }
      await dataOf(there).writeBlock(1, new Uint8Array(BLOCK_BYTES));
      await using producer = await produce(there, { lingerMs: 60_000 });
      expect(producer.nextSequence).toBe(isAcknowledged ? 5 : 3);
      for (let batch = 0; batch < batches; batch++) {
        const from = producer.nextSequence;
        for (let count = 0; count < 4; count++) await producer.send(from + count);
        await producer.flush();
      }
      for (let item = 5; item < producer.nextSequence; item++)
        expect(await consumer.popAsync({ timeoutMs: 20_000 })).toBe(item);
    },
  );

  it("E6: is found in its new lease also when its producer died before it told where that is", async () => {
    await using there = own("producer");
    await using here = own("consumer");
    await using consumer = await consume(here);
    {
      await using producer = await produce(there);
      for (let item = 0; item < 3; item++) await producer.send(item);
      await producer.flush();
      for (let item = 0; item < 3; item++) expect(await consumer.popAsync()).toBe(item);
      await consumer.acknowledge();
      const lost = dataOf(there);
      lost.release();
      await lost.settle();
    }
    await there.block().minBlocks(4).label("numbers.data").acquire();
    await using producer = await produce(there);
    expect(producer.nextSequence).toBe(3);
    await producer.send(3);
    expect(await consumer.popAsync({ timeoutMs: 20_000 })).toBe(3);
  });

  it("STORE_UNAVAILABLE: what passes is tried again, as often as told; what does not is told", async () => {
    await using there = own("producer");
    await using here = own("consumer");
    const lease = await here.block().minBlocks(1).acquire();
    const blocks = Object.getPrototypeOf(lease) as BlockLease;
    const write = Reflect.get(blocks, "write");
    let failures = 0;
    using failing = vi.spyOn(blocks, "write").mockImplementation(function (
      this: BlockLease,
      ...to
    ) {
      if (failures <= 0) return write.apply(this, to);
      failures--;
      return Promise.reject(new FabricError("STORE_UNAVAILABLE", "Cannot write: a bad day"));
    });
    await using producer = await produce(there, { retry: { retries: 3, baseMs: 1 } });
    await using consumer = await consume(here, { retry: { retries: 1, baseMs: 1 } });
    await producer.send(0);
    failures = 3;
    await producer.flush();
    expect([failures, failing.mock.calls.length >= 4]).toEqual([0, true]);
    expect(await consumer.popAsync()).toBe(0);
    failures = 2;
    expect(await consumer.acknowledge().catch(codeOf)).toBe("STORE_UNAVAILABLE");
    failures = 1;
    await consumer.acknowledge();
    expect(consumer.stats().acknowledged).toBe(1);
    await producer.send(1);
    failures = 4;
    expect(await producer.flush().catch(codeOf)).toBe("STORE_UNAVAILABLE");
    // It stays so: what was accepted is not there. The next one to open it goes on where the disk is.
    expect(await producer.send(2).catch(codeOf)).toBe("STORE_UNAVAILABLE");
    await producer[Symbol.asyncDispose]();
    await using again = await produce(there);
    expect(again.nextSequence).toBe(1);
  });

  it("refuses what is longer than a batch, and what cannot be encoded, and goes on", async () => {
    await using there = own("producer");
    await using producer = await BlockEdgeProducer.open(there, "bytes", {
      peer: peer("consumer"),
      slotBlocks: 1,
    });
    await expect(producer.send(new Uint8Array(445))).rejects.toMatchObject({
      code: "CAPACITY_EXCEEDED",
    });
    expect(await producer.send(new Uint8Array(444))).toBe(true);
    await producer.flush();
    expect(producer.nextSequence).toBe(1);
  });

  it("ends in TIMED_OUT when nobody acknowledges, and leaves what it has sent", async () => {
    await using there = own("producer");
    await using producer = await produce(there);
    await producer.send(1);
    const outcome = await producer.close({ timeoutMs: 30 }).catch(codeOf);
    expect(outcome).toBe("TIMED_OUT");
    expect(await producer.send(2).catch(codeOf)).toBe("DISCONNECTED");
    await using here = own("consumer");
    await using consumer = await consume(here);
    expect(await consumer.popAsync({ timeoutMs: 2_000 })).toBe(1);
  });

  it("keeps to the time and the signal it was given, however full its slots are", async () => {
    await using there = own("producer");
    const options = { slots: 2, codec: oneASlot };
    const producer = await produce(there, options);
    const accepted = 3;
    for (let item = 0; item < accepted; item++) await producer.send(item);
    // One that waits behind another that has all the time in the world.
    const patient = producer.send(accepted).catch(codeOf);
    expect(await producer.send(accepted + 1, { timeoutMs: 20 })).toBe(false);
    const reason = new Error("enough");
    const signal = AbortSignal.abort(reason);
    await expect(producer.send(accepted + 1, { signal })).rejects.toBe(reason);
    // Neither was accepted; and the end of the stream finds no slot either.
    expect(producer.nextSequence).toBe(accepted);
    expect(await producer.close({ timeoutMs: 30 }).catch(codeOf)).toBe("TIMED_OUT");
    expect(await patient).toBe("DISCONNECTED");
    await producer[Symbol.asyncDispose]();
    expect(await producer.close({ timeoutMs: 30 }).catch(codeOf)).toBe("DISCONNECTED");
    // What was durable is there: not what was accepted and had no slot.
    await using again = await produce(there, options);
    expect(again.nextSequence).toBe(2);
  });
});
