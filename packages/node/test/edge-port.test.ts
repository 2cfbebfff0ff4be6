import { once } from "node:events";
import { MessageChannel, Worker } from "node:worker_threads";
import {
  Fabric,
  FabricQueue,
  HandoffReader,
  HandoffWriter,
  RelocatableQueueEdge,
  RenewalManager,
  type BlockLease,
  type EdgeHost,
  type MemLease,
} from "selvage";
import { describe, expect, it } from "vitest";
import { edgeHost, edgePort } from "@selvage/node";

const refused = (code: string): unknown => expect.objectContaining({ code });
const bytes = FabricQueue.bytesFor(8, 8);

async function withFabric(
  use: (fabric: Fabric, blocks: BlockLease) => Promise<void>,
): Promise<void> {
  await using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 16 });
  await use(fabric, await fabric.block().minBlocks(HandoffWriter.BLOCKS).acquire());
}

interface Started {
  readonly worker: Worker;
  readonly answer: Promise<unknown[]>;
  readonly exit: Promise<unknown>;
}

function start(host: EdgeHost, count?: number): Started {
  const worker = new Worker(new URL("./threads/edge-port-worker.ts", import.meta.url));
  worker.postMessage({ port: host.port, count }, [host.port]);
  return { worker, answer: once(worker, "message"), exit: once(worker, "exit") };
}

async function open(
  fabric: Fabric,
  blocks: BlockLease,
): Promise<{ edge: RelocatableQueueEdge; lease: MemLease }> {
  const lease = fabric.mem().minBytes(bytes).acquire();
  const queue = new FabricQueue(lease, 8, 8);
  const writer = new HandoffWriter(blocks, "parse");
  const locator = RelocatableQueueEdge.locatorOf(queue);
  await writer.publish(locator);
  return { edge: new RelocatableQueueEdge(queue, locator, writer), lease };
}

const numbers = (count: number): number[] => [...Array(count).keys()];

describe("edgeHost and edgePort", { timeout: 60_000 }, () => {
  it("let a thread without a fabric be the consumer, over relocations", async () => {
    await withFabric(async (fabric, blocks) => {
      const { edge } = await open(fabric, blocks);
      const host = edgeHost(fabric, new HandoffReader(blocks));
      const { answer, exit } = start(host);
      for (const item of numbers(100)) {
        await edge.send(Uint8Array.of(item));
        if (item % 20 === 10) await edge.relocate();
      }
      await edge.close();
      expect(await answer).toEqual([numbers(100)]);
      // The port keeps no thread alive, and its thread's end is the host's.
      await exit;
      await host.closed;
    });
  });

  it("let a thread without a fabric be the producer, over relocations", async () => {
    await withFabric(async (fabric, blocks) => {
      const host = edgeHost(fabric, new HandoffWriter(blocks, "parse"));
      const { answer, exit } = start(host, 100);
      const edge = await RelocatableQueueEdge.attach(fabric, new HandoffReader(blocks), {
        timeoutMs: 60_000,
      });
      const got: number[] = [];
      for await (const item of edge) got.push(item[0] as number);
      expect(got).toEqual(numbers(100));
      // The first ring, a relocation for each twenty items, and the end.
      expect(await answer).toEqual([7]);
      await exit;
      await host.closed;
    });
  });

  it("give the memory back that was acquired, and never published, when the port is closed", async () => {
    await withFabric(async (fabric, blocks) => {
      const host = edgeHost(fabric, new HandoffWriter(blocks, "parse"));
      const port = edgePort(host.port);
      const published = await port.acquire(bytes);
      const unpublished = await port.acquire(bytes);
      const queue = new FabricQueue(published, 8, 8);
      await port.writer?.publish(RelocatableQueueEdge.locatorOf(queue));
      expect(port.writer?.generation).toBe(1);
      port[Symbol.dispose]();
      await host.closed;
      expect([published.state, unpublished.state]).toEqual(["active", "released"]);
      published.release();
    });
  });

  it("serve with leases of the TTL that was asked for, kept alive until the port is closed", async () => {
    await withFabric(async (fabric, blocks) => {
      using renewals = new RenewalManager(fabric);
      const kept: string[] = [];
      const notes = {
        register(leaseId: string, expiresAtMs: number): void {
          renewals.register(leaseId, expiresAtMs);
          kept.push(leaseId);
        },
        unregister(leaseId: string): void {
          expect(renewals.unregister(leaseId)).toBe(true);
          kept.splice(kept.indexOf(leaseId), 1);
        },
      };
      const writer = new HandoffWriter(blocks, "parse");
      const host = edgeHost(fabric, writer, { leaseMs: 60_000, renewals: notes });
      const port = edgePort(host.port);
      const lease = await port.acquire(bytes);
      const leftMs = lease.expiresAtMs - fabric.nowMs();
      expect(leftMs).toBeGreaterThan(50_000);
      expect(leftMs).toBeLessThanOrEqual(60_001);
      const other = await port.acquire(bytes);
      for (const { leaseId, expiresAtMs } of [lease, other])
        port.renewals?.register(leaseId, expiresAtMs);
      port.renewals?.register("0".repeat(32), 0);
      port.renewals?.unregister(other.leaseId);
      // What is asked for later is done later.
      await port.acquire(bytes);
      expect(kept).toEqual([lease.leaseId]);
      await host.close();
      expect(kept).toEqual([]);
    });
  });

  it("let errors cross with their codes", async () => {
    await withFabric(async (fabric, blocks) => {
      using host = edgeHost(fabric, new HandoffWriter(blocks, "parse"));
      const port = edgePort(host.port);
      await expect(port.acquire(2 << 20)).rejects.toEqual(refused("CAPACITY_EXCEEDED"));
      const nobody = { leaseId: "0".repeat(32), slot: 3, generation: 9 };
      await expect(port.leaseAt(nobody)).rejects.toEqual(refused("NOT_FOUND"));
      const { leaseId, slot, generation } = fabric.mem().acquire();
      const locator = { kind: "mem", leaseId, slot, generation, offset: 0, bytes: 0 } as const;
      await port.writer?.publish(locator);
      await new HandoffWriter(blocks, "parse").publish(locator);
      await expect(port.writer?.publish(locator)).rejects.toEqual(refused("STALE_EPOCH"));
      expect(port.reader).toBeUndefined();
      expect(port.renewals).toBeUndefined();
    });
  });

  it("answer DISCONNECTED once the host is closed, also to what was asked before", async () => {
    await withFabric(async (fabric, blocks) => {
      const host = edgeHost(fabric, new HandoffReader(blocks));
      const port = edgePort(host.port);
      const asked = port.reader?.poll();
      await Promise.all([
        expect(asked).rejects.toEqual(refused("DISCONNECTED")),
        host.close(),
        host.close(),
      ]);
      await expect(port.acquire(8)).rejects.toEqual(refused("DISCONNECTED"));
      port[Symbol.dispose]();
    });
  });

  it("close when the thread at the other end is terminated, and nothing that it asked for is done after that", async () => {
    await withFabric(async (fabric, blocks) => {
      for (let round = 0; round < 3; round++) {
        const writer = await HandoffWriter.open(blocks, "parse");
        const host = edgeHost(fabric, writer);
        const { worker, answer } = start(host, 1_000_000);
        answer.catch(() => {});
        const before = writer.generation;
        while (writer.generation < before + 1)
          await new Promise((resolve) => setTimeout(resolve, 1));
        await worker.terminate();
        await host.closed;
        const { generation } = writer;
        await new Promise((resolve) => setTimeout(resolve, 20));
        expect(writer.generation).toBe(generation);
        // One published ring at most, and none that nobody knows of.
        expect(fabric.stats().memory.activeLeases).toBeLessThanOrEqual(1);
        for (const lease of fabric.leases()) if (lease.kind === "mem") lease.release();
      }
    });
  });

  it("refuse what is no fabric, no record, no port, and a port that was taken", async () => {
    await withFabric(async (fabric, blocks) => {
      const reader = new HandoffReader(blocks);
      expect(() => edgeHost({} as Fabric, reader)).toThrow(refused("INVALID_ARGUMENT"));
      expect(() => edgeHost(fabric, {} as HandoffReader)).toThrow(refused("INVALID_ARGUMENT"));
      for (const leaseMs of [0, -1, Number.NaN, Infinity])
        expect(() => edgeHost(fabric, reader, { leaseMs })).toThrow(refused("INVALID_ARGUMENT"));
      expect(() => edgePort({} as never)).toThrow(refused("INVALID_ARGUMENT"));
      const { port1, port2 } = new MessageChannel();
      expect(() => edgePort(port1)).toThrow(refused("INVALID_ARGUMENT"));
      port2.close();
      using host = edgeHost(fabric, reader);
      using port = edgePort(host.port);
      expect(port.reader?.generation).toBe(0);
      expect(() => edgePort(host.port)).toThrow(refused("INVALID_ARGUMENT"));
    });
  });
});
