import { isFabricError, type BlockLease } from "@selvage/fabric";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { imbalances, START_MS, VirtualHost } from "./rig.ts";
import { bytesOf, filled, openSim, quiet, type Operation, type SimDisk } from "./sim-disk.ts";

/** The code that a promise rejects with, or "ok". */
async function outcomeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "ok";
  } catch (thrown) {
    if (isFabricError(thrown)) return thrown.code;
    throw thrown;
  }
}

/** One of everything, one after the other; says how each went, and what was acknowledged. */
async function play(fabric: ReturnType<typeof openSim>["fabric"], lease: BlockLease) {
  const outcomes: string[] = [];
  const granted: BlockLease[] = [];
  const note = async (promise: Promise<unknown>): Promise<void> => {
    outcomes.push(await outcomeOf(promise));
  };
  await note(
    fabric
      .block()
      .minBlocks(2)
      .label("a")
      .acquire()
      .then((got) => granted.push(got)),
  );
  await note(lease.write(0, filled(1)));
  await note(lease.flush());
  await note(lease.renew(5_000));
  await note(
    fabric
      .block()
      .label("b")
      .acquire()
      .then((got) => granted.push(got)),
  );
  granted.find(({ label }) => label === "a")?.release();
  await quiet();
  await note(lease.readBlock(0));
  return { outcomes, granted };
}

async function opened() {
  const host = new VirtualHost();
  const { fabric, disk } = openSim(host);
  const lease = await fabric.block().leaseMs(1_000).label("first").acquire();
  disk.operations = 0;
  return { host, fabric, disk, lease };
}

/** How many operations the play has on a disk that works. */
async function lengthOfPlay(): Promise<number> {
  const { fabric, disk, lease } = await opened();
  const { outcomes } = await play(fabric, lease);
  expect(new Set(outcomes)).toEqual(new Set(["ok"]));
  return disk.operations;
}

/** Fails the operation of one number, or every one from it on until `mend`. */
function breakAt(disk: SimDisk, number: number, errno: string, sticky: boolean, kinds: string) {
  let hit: Operation["kind"] | undefined;
  disk.fault = (operation) => {
    if (sticky ? operation.number < number : operation.number !== number) return undefined;
    if (!kinds.includes(operation.kind)) return undefined;
    hit ??= operation.kind;
    return errno;
  };
  return { hit: () => hit, mend: () => void (disk.fault = () => undefined) };
}

describe("J6: an operation of the disk that fails", () => {
  for (const errno of ["EIO", "ENOSPC"])
    for (const sticky of [false, true])
      it(`with ${errno}, ${sticky ? "until it is mended" : "once"}, is a typed error; then all is well again`, async () => {
        const length = await lengthOfPlay();
        let failures = 0;
        for (let number = 0; number < length; number++) {
          const { host, fabric, disk, lease } = await opened();
          const { hit, mend } = breakAt(disk, number, errno, sticky, "read write truncate");
          const { outcomes, granted } = await play(fabric, lease);
          expect(outcomes.filter((code) => code !== "ok" && code !== "STORE_UNAVAILABLE")).toEqual(
            [],
          );
          expect(imbalances(fabric.stats())).toEqual([]);
          if (hit() === undefined) continue;
          failures++;
          mend();
          // Teardowns that failed are tried again within a second or two of ticks.
          for (let second = 1; second <= 3; second++) {
            fabric.tick(START_MS + second * 1_000 - 500);
            await quiet();
          }
          const kept = granted.filter(({ label, state }) => label === "b" && state === "active");
          const blocks = (lease.state === "active" ? 1 : 0) + kept.length;
          expect(fabric.stats().blocks, `operation ${number}`).toMatchObject({
            leasedBytes: blocks * 512,
            freeBytes: (8 - blocks) * 512,
          });
          const next = await fabric.block().minBlocks(1).acquire();
          expect(await bytesOf(next)).toEqual(filled(0));
          // What was acknowledged is what a crash leaves.
          for (const platter of disk.platters()) {
            const { fabric: later } = openSim(host, platter);
            await quiet();
            expect(later.blockDamage()).toEqual([]);
            const there = later.leases().map(({ leaseId }) => leaseId);
            const promised = [...kept, next].filter(({ isLive }) => isLive);
            expect(there).toEqual(expect.arrayContaining(promised.map(({ leaseId }) => leaseId)));
          }
        }
        expect(failures).toBeGreaterThan(4);
      });

  it("J4: a failed sync fails the store for good, whatever the disk says later; reopening finds what was acknowledged", async () => {
    const length = await lengthOfPlay();
    let failures = 0;
    for (let number = 0; number < length; number++) {
      const { host, fabric, disk, lease } = await opened();
      const { hit, mend } = breakAt(disk, number, "EIO", false, "sync");
      await play(fabric, lease);
      if (hit() === undefined) continue;
      failures++;
      mend();
      const after = await Promise.all(
        [
          fabric.block().acquire(),
          lease.renew(10_000),
          lease.write(0, filled(9)),
          lease.readBlock(0),
          lease.flush(),
        ].map(outcomeOf),
      );
      expect(new Set(after)).toEqual(new Set(["STORE_UNAVAILABLE"]));
      expect(imbalances(fabric.stats())).toEqual([]);
      fabric[Symbol.dispose]();
      await quiet();
      expect(disk.closed).toBe(1);
      for (const platter of disk.platters()) {
        const { fabric: later } = openSim(host, platter);
        expect(later.leases().map(({ leaseId }) => leaseId)).toContain(lease.leaseId);
        expect(await outcomeOf(later.block().acquire())).toBe("ok");
      }
    }
    expect(failures).toBeGreaterThan(3);
  });

  it("short reads and writes are carried on", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 512 }), { minLength: 1 }),
        async (parts) => {
          const { fabric, disk, lease } = await opened();
          disk.fault = ({ kind, number }) =>
            kind === "read" || kind === "write" ? parts[number % parts.length] : undefined;
          const { outcomes } = await play(fabric, lease);
          expect(new Set(outcomes)).toEqual(new Set(["ok"]));
          expect(await lease.readBlock(0)).toEqual(filled(1));
          const { fabric: later } = openSim(new VirtualHost(), disk.platter(-1));
          expect(
            later
              .leases()
              .map(({ label }) => label)
              .toSorted(),
          ).toEqual(["b", "first"]);
        },
      ),
      { numRuns: 50 },
    );
  });

  it("a write of which the disk takes nothing is STORE_UNAVAILABLE, not a loop", async () => {
    const { disk, lease } = await opened();
    disk.fault = ({ kind }) => (kind === "write" ? 0 : undefined);
    expect(await outcomeOf(lease.write(0, filled(1)))).toBe("STORE_UNAVAILABLE");
  });

  it("many failed grants do not use the file up: their blocks and slots come back", async () => {
    const { fabric, disk } = await opened();
    const { mend } = breakAt(disk, 0, "ENOSPC", true, "write");
    const codes = new Set<string>();
    for (let count = 0; count < 20; count++)
      codes.add(await outcomeOf(fabric.block().minBlocks(1).acquire()));
    expect([...codes]).toEqual(["STORE_UNAVAILABLE", "CAPACITY_EXCEEDED"]);
    mend();
    fabric.tick(START_MS + 1);
    for (let rounds = 0; rounds < 3; rounds++) await quiet();
    expect(await outcomeOf(fabric.block().minBlocks(7).acquire())).toBe("ok");
  });
});
