import type { Fabric } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { imbalances, openOn, rejectionOf, START_MS, thrownBy, VirtualHost } from "./rig.ts";
import { dataAt } from "./block-flips.ts";
import { bytesOf, filled, openSim, quiet, SimDisk } from "./sim-disk.ts";

/** A writer, and a reader of the same disk as it is at every moment. */
async function pair() {
  const host = new VirtualHost();
  const { fabric: writer, disk } = openSim(host);
  const lease = await writer.block().minBlocks(2).leaseMs(1_000).label("x").acquire();
  await lease.write(0, filled(0xaa, 2));
  const view = new SimDisk({ bytes: new Uint8Array(0) });
  view.readNow = (offset, target) => disk.readNow(offset, target);
  const reader: Fabric = openOn(
    host,
    { blockFile: "sim", blocks: 8, blockAccess: "read", memoryBytes: 64, maxLeases: 8 },
    { disk: () => view },
  );
  return { host, writer, reader, lease, view };
}

const tickBoth = async (nowMs: number, ...fabrics: Fabric[]): Promise<void> => {
  for (const fabric of fabrics) fabric.tick(nowMs);
  await quiet();
};

describe("a fabric that opens a block file for reading", () => {
  it("has what stands, reads it by ticket, and counts it", async () => {
    const { reader, lease } = await pair();
    expect(reader.leases().map(({ label }) => label)).toEqual(["x"]);
    const seen = await reader.attachBlock(structuredClone(lease.ticket()));
    expect(seen).toMatchObject({ generation: lease.generation, leaseId: lease.leaseId });
    expect(await bytesOf(seen)).toEqual(filled(0xaa, 2));
    expect(seen.ticket()).toEqual(lease.ticket());
    expect(reader.stats().blocks).toMatchObject({ leasedBytes: 1_024, activeLeases: 1 });
    expect(imbalances(reader.stats())).toEqual([]);
  });

  it("changes nothing: every write, renewal, end and grant is UNSUPPORTED, and dispose does nothing", async () => {
    const { reader, writer, lease, view } = await pair();
    const seen = await reader.attachBlock(lease.ticket());
    const refused = await Promise.all(
      [
        seen.write(0, filled(1)),
        seen.writeBlock(0, filled(1)),
        seen.flush(),
        seen.renew(5_000),
        reader.block().acquire(),
      ].map(rejectionOf),
    );
    const thrown = [thrownBy(() => seen.release()), thrownBy(() => seen.revoke())];
    expect(new Set([...refused, ...thrown].map(({ code }) => code))).toEqual(
      new Set(["UNSUPPORTED"]),
    );
    seen[Symbol.dispose]();
    expect(seen.state).toBe("active");
    reader[Symbol.dispose]();
    await expect(bytesOf(seen)).rejects.toMatchObject({ code: "DISCONNECTED" });
    expect(view.changes).toBe(0);
    expect(await bytesOf(await writer.attachBlock(lease.ticket()))).toEqual(filled(0xaa, 2));
  });

  it("sees renewals, also ones that come when the deadline that it knew has passed for it", async () => {
    const { host, writer, reader, lease } = await pair();
    const seen = await reader.attachBlock(lease.ticket());
    await lease.renew(3_000);
    await tickBoth((host.nowMs = START_MS + 1_500), writer, reader);
    expect(await bytesOf(seen)).toEqual(filled(0xaa, 2));
    expect(seen.expiresAtMs).toBe(START_MS + 3_000);
    host.nowMs = START_MS + 2_900;
    await lease.renew(3_000);
    reader.tick((host.nowMs = START_MS + 3_500));
    expect(await bytesOf(seen)).toEqual(filled(0xaa, 2));
  });

  it("sees ends: LEASE_EXPIRED for what was read and for a ticket, and later leases of the slot", async () => {
    const { writer, reader, lease } = await pair();
    const ticket = lease.ticket();
    const seen = await reader.attachBlock(ticket);
    lease.release();
    await lease.settle();
    await expect(bytesOf(seen)).rejects.toMatchObject({ code: "LEASE_EXPIRED" });
    await expect(reader.attachBlock(ticket)).rejects.toMatchObject({
      code: "LEASE_EXPIRED",
    });
    await quiet();
    const next = await writer.block().minBlocks(4).label("y").acquire();
    expect(next.slot).toBe(lease.slot);
    await next.write(0, filled(0xbb, 4));
    const after = await reader.attachBlock(next.ticket());
    expect(await bytesOf(after)).toEqual(filled(0xbb, 4));
    await expect(reader.attachBlock(ticket)).rejects.toMatchObject({
      code: "LEASE_EXPIRED",
    });
    expect(reader.stats().blocks).toMatchObject({ leasedBytes: 4 * 512, activeLeases: 1 });
    expect(imbalances(reader.stats())).toEqual([]);
  });

  it("A3: never gives a later lease's bytes for an ended one's, wherever the writer overtakes a read", async () => {
    for (let turns = 0; turns < 40; turns++) {
      const { writer, reader, lease } = await pair();
      const seen = await reader.attachBlock(lease.ticket());
      const target = new Uint8Array(1_024);
      const reading = seen.readInto(0, target).then(
        () => "read",
        (thrown: { code: string }) => thrown.code,
      );
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      lease.release();
      await quiet();
      const next = await writer.block().minBlocks(2).acquire();
      await next.write(0, filled(0xcc, 2));
      const outcome = await reading;
      expect(["read", "LEASE_EXPIRED"]).toContain(outcome);
      expect(outcome === "read" ? target : filled(0xaa, 2)).toEqual(filled(0xaa, 2));
    }
  });

  it("A3: looks again after a read that took so long that the writer leased the blocks anew", async () => {
    const { writer, reader, lease, view } = await pair();
    const seen = await reader.attachBlock(lease.ticket());
    const slow = Promise.withResolvers<void>();
    const read = view.read.bind(view);
    view.read = async (offset, target) => {
      if (offset >= dataAt) await slow.promise;
      return read(offset, target);
    };
    const target = new Uint8Array(1_024);
    const reading = rejectionOf(seen.readInto(0, target));
    await quiet();
    lease.release();
    await quiet();
    await (await writer.block().minBlocks(2).acquire()).write(0, filled(0xcc, 2));
    slow.resolve();
    expect((await reading).code).toBe("LEASE_EXPIRED");
  });

  it("tells how leases ended that it never saw, and which ones there never were", async () => {
    const { writer, reader } = await pair();
    const short = await writer.block().acquire();
    const ticket = short.ticket();
    short.revoke();
    await quiet();
    const codeOf = async (one: typeof ticket): Promise<string> =>
      (await rejectionOf(reader.attachBlock(one))).code;
    expect(await codeOf(ticket)).toBe("REVOKED");
    await writer.block().acquire();
    expect(await codeOf(ticket)).toBe("LEASE_EXPIRED");
    expect(await codeOf({ ...ticket, generation: 9 })).toBe("NOT_FOUND");
  });

  it("goes on where the disk fails it: reads are STORE_UNAVAILABLE, ticks are not", async () => {
    const { host, reader, lease, view } = await pair();
    const seen = await reader.attachBlock(lease.ticket());
    view.readNow = () => {
      throw Object.assign(new Error("gone"), { code: "EIO" });
    };
    await expect(bytesOf(seen)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    reader.tick((host.nowMs = START_MS + 1_000));
    expect(seen.state).toBe("expired");
  });

  it("ends a lease that nobody renewed, by its own clock", async () => {
    const { host, reader, lease } = await pair();
    const seen = await reader.attachBlock(lease.ticket());
    await tickBoth((host.nowMs = START_MS + 1_000), reader);
    expect(seen.state).toBe("expired");
    expect(reader.leases()).toEqual([]);
    await expect(reader.attachBlock(lease.ticket())).rejects.toMatchObject({
      code: "LEASE_EXPIRED",
    });
  });
});
