import { BLOCK_BYTES, ramBlockDevice, type BlockDevice } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { imbalances, openManual, rejectionOf, settled, START_MS } from "./rig.ts";

const block = (byte: number): Uint8Array<ArrayBuffer> => new Uint8Array(BLOCK_BYTES).fill(byte);

/** Blocks in memory whose reads and zeroings a test can hold up or break. */
function testDevice(numBlocks = 8) {
  const ram = ramBlockDevice(numBlocks);
  let gate = Promise.withResolvers<void>();
  gate.resolve();
  const state = { isBroken: false, closed: 0, zeroed: [] as number[][] };
  const device: BlockDevice = {
    ...ram,
    async write(index, source) {
      await gate.promise;
      await ram.write(index, source);
    },
    async zero(index, count) {
      if (state.isBroken) throw new Error("the disk is broken");
      state.zeroed.push([index, count]);
      await ram.zero(index, count);
    },
    close() {
      state.closed++;
    },
  };
  const hold = (): (() => void) => {
    gate = Promise.withResolvers<void>();
    return gate.resolve;
  };
  return { device, state, hold };
}

describe("a block lease", () => {
  it("reads what was written, block by block and together", async () => {
    using fabric = openManual();
    const lease = await fabric.block().minBlocks(4).label("disk").acquire();
    await lease.writeBlock(0, Uint8Array.of(1, 2, 3));
    await lease.write(1, new Uint8Array([...block(5), ...block(6)]));
    expect((await lease.readBlock(0)).slice(0, 4)).toEqual(Uint8Array.of(1, 2, 3, 0));
    const target = new Uint8Array(3 * BLOCK_BYTES);
    await lease.readInto(1, target);
    expect(target).toEqual(new Uint8Array([...block(5), ...block(6), ...block(0)]));
    await lease.flush();
    expect(lease.toJSON()).toMatchObject({ kind: "block", bytes: 2_048, label: "disk" });
    expect(lease.numBlocks).toBe(4);
  });

  it("makes the rest of a block zero that is written in part", async () => {
    using fabric = openManual();
    const lease = await fabric.block().acquire();
    await lease.writeBlock(0, block(9));
    await lease.writeBlock(0, Uint8Array.of(1));
    expect(await lease.readBlock(0)).toEqual(new Uint8Array([1, ...block(0).slice(1)]));
  });

  it("is renewed, revoked, released and counted as a memory lease is", async () => {
    using fabric = openManual();
    const [a, b, c] = await Promise.all([0, 1, 2].map(() => fabric.block().leaseMs(100).acquire()));
    expect(await a?.renew(500)).toBe(START_MS + 500);
    expect([b?.revoke(), c?.release()]).toEqual([true, true]);
    fabric.tick(START_MS + 500);
    const reasons = await Promise.all(
      [a, b, c].map((one) => rejectionOf(one?.readBlock(0) ?? Promise.resolve())),
    );
    expect(reasons.map(({ code }) => code)).toEqual(["LEASE_EXPIRED", "REVOKED", "LEASE_EXPIRED"]);
    await settled();
    expect(fabric.stats().blocks).toMatchObject({
      capacityBytes: 64 * BLOCK_BYTES,
      freeBytes: 64 * BLOCK_BYTES,
      expired: 1,
      revoked: 1,
      released: 1,
    });
  });

  it("A2: is zero when its blocks are leased again", async () => {
    using fabric = openManual({ blocks: 2 });
    const first = await fabric.block().minBlocks(2).acquire();
    await first.write(0, new Uint8Array(2 * BLOCK_BYTES).fill(7));
    first.release();
    await settled();
    const second = await fabric.block().minBlocks(2).acquire();
    expect([await second.readBlock(0), await second.readBlock(1)]).toEqual([block(0), block(0)]);
  });

  it("is reached by its ticket while it stands, and no longer", async () => {
    using fabric = openManual();
    using other = openManual();
    const lease = await fabric.block().acquire();
    const ticket = structuredClone(lease.ticket());
    expect(await fabric.attachBlock(ticket)).toBe(lease);
    expect(
      (await rejectionOf(other.attachBlock({ ...ticket, fabricId: "0".repeat(32) }))).code,
    ).toBe("UNSUPPORTED");
    const forged = { ...ticket, leaseId: "0".repeat(32) };
    expect((await rejectionOf(fabric.attachBlock(forged))).code).toBe("NOT_FOUND");
    lease.release();
    expect((await rejectionOf(fabric.attachBlock(ticket))).code).toBe("LEASE_EXPIRED");
  });
});

describe("A3: an operation in flight", () => {
  it("keeps its blocks from the next lease until the device is done, then fails", async () => {
    const { device, hold } = testDevice(1);
    using fabric = openManual({}, { blockDevice: () => device });
    const lease = await fabric.block().acquire();
    const letGo = hold();
    const writing = rejectionOf(lease.writeBlock(0, block(9)));
    lease.release();
    fabric.tick(START_MS);
    await settled();
    expect(fabric.stats().blocks.quarantinedBytes).toBe(BLOCK_BYTES);
    expect((await rejectionOf(fabric.block().acquire())).code).toBe("CAPACITY_EXCEEDED");
    letGo();
    expect((await writing).code).toBe("LEASE_EXPIRED");
    fabric.tick(START_MS);
    await settled();
    const next = await fabric.block().acquire();
    expect(await next.readBlock(0)).toEqual(block(0));
  });
});

/** A lease that ended while its device could not zero. */
async function fenced() {
  const { device, state } = testDevice(2);
  const fabric = openManual({}, { blockDevice: () => device });
  const types: string[] = [];
  fabric.subscribe(({ type }) => types.push(type));
  const lease = await fabric.block().minBlocks(2).acquire();
  state.isBroken = true;
  lease.release();
  await settled();
  return { fabric, lease, state, types };
}

describe("blocks whose device cannot zero them", () => {
  it("are fenced, and taken by no lease: A1 holds on", async () => {
    const { fabric, types } = await fenced();
    expect(fabric.stats().blocks).toMatchObject({ fencedBytes: 1_024, freeBytes: 0, released: 1 });
    expect(imbalances(fabric.stats())).toEqual([]);
    expect((await rejectionOf(fabric.block().acquire())).code).toBe("CAPACITY_EXCEEDED");
    expect(types).toEqual(["granted", "released", "fenced"]);
    expect(fabric.tick(START_MS + 1_000_000)).toMatchObject({ fenced: 1, reclaimed: 0 });
  });

  it("are unfenced by an operator once the device works again", async () => {
    const { fabric, lease, state, types } = await fenced();
    state.isBroken = false;
    fabric.unfence(lease.leaseId);
    await settled();
    expect(fabric.stats().blocks).toMatchObject({ fencedBytes: 0, freeBytes: 1_024 });
    expect(types).toEqual(["granted", "released", "fenced", "unfenced", "reclaimed"]);
    expect(() => fabric.unfence(lease.leaseId)).toThrow("a lease whose teardown failed");
  });

  it("are fenced again while it does not", async () => {
    const { fabric, lease, types } = await fenced();
    fabric.unfence(lease.leaseId);
    await settled();
    expect(fabric.stats().blocks.fencedBytes).toBe(1_024);
    expect(types).toEqual(["granted", "released", "fenced", "unfenced", "fenced"]);
  });

  it("are named in what close() leaves", async () => {
    const { fabric, state } = await fenced();
    expect(await fabric.close()).toEqual({ revoked: 0, pending: 0, pendingBytes: 1_024 });
    expect(state.closed).toBe(1);
  });
});

describe("a fabric without blocks", () => {
  it("refuses every block lease", async () => {
    using fabric = openManual({ blocks: 0 });
    const { code, details } = await rejectionOf(fabric.block().acquire());
    expect([code, details["largestFreeBytes"]]).toEqual(["CAPACITY_EXCEEDED", 0]);
  });
});
