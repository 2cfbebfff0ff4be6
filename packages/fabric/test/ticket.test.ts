import {
  Attachments,
  bufferMemoryProvider,
  formatId,
  parseId,
  type MemTicket,
} from "@selvage/fabric";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { codeOf, openManual, openOn, START_MS, thrownBy, VirtualHost } from "./rig.ts";

const granted = (shared = true) => {
  const host = new VirtualHost();
  const fabric = openOn(host, { shared });
  const [before, lease, after] = [0, 1, 2].map(() => fabric.mem().minBytes(128).acquire());
  if (before === undefined || lease === undefined || after === undefined) throw new Error("three");
  const { clock, timer, random } = host;
  const elsewhere = new Attachments({
    clock,
    timer,
    random,
    memory: bufferMemoryProvider,
    threads: undefined,
  });
  return { fabric, before, lease, after, ticket: lease.ticket(), elsewhere };
};

describe("Fabric.attachMem()", () => {
  it.each([true, false])("reaches the lease itself by its ticket, shared: %s", (shared) => {
    const { fabric, lease, ticket } = granted(shared);
    const again = fabric.attachMem(ticket);
    again.write(0, Uint8Array.of(4));
    expect([lease.read(0, 1)[0], again.leaseId, again.state]).toEqual([4, lease.leaseId, "active"]);
    expect(again.renew(1_000_000)).toBe(lease.expiresAtMs);
    expect(again.release()).toBe(true);
    expect(lease.state).toBe("released");
    expect(fabric.stats().memory.quarantinedBytes).toBe(0);
  });

  it("takes where the bytes are from its own books: a ticket with other figures reaches the same", () => {
    const { fabric, before, lease, after, ticket } = granted();
    lease.write(0, new Uint8Array(128).fill(1));
    for (const offset of [0, 256, 1_024]) {
      const forged = fabric.attachMem({ ...ticket, offset, bytes: 64 });
      expect([forged.bytes, forged.read(0, 1)[0]]).toEqual([128, 1]);
      forged.write(0, new Uint8Array(128).fill(1));
    }
    expect([before.read(0, 128), after.read(0, 128)]).toEqual([
      new Uint8Array(128),
      new Uint8Array(128),
    ]);
  });

  it("S2: refuses an id, a slot or a generation that is not the lease's", () => {
    const { fabric, lease, after, ticket } = granted();
    const forged: Partial<MemTicket>[] = [
      { leaseId: "0".repeat(32) },
      { leaseId: after.leaseId },
      { slot: after.slot },
      { slot: 77 },
      { slot: 2 ** 31 },
      { generation: 2 },
      { generation: 0 },
    ];
    for (const other of forged)
      expect(
        codeOf(() => fabric.attachMem({ ...ticket, ...other })),
        JSON.stringify(other),
      ).toBe("NOT_FOUND");
    const digit = lease.leaseId.startsWith("0") ? "1" : "0";
    const near = digit + lease.leaseId.slice(1);
    expect(codeOf(() => fabric.attachMem({ ...ticket, leaseId: near }))).toBe("NOT_FOUND");
  });

  it("says how the lease of a late ticket ended", () => {
    const { fabric, before, lease, after, ticket } = granted();
    const tickets = [before.ticket(), ticket, after.ticket()] as const;
    before.release();
    lease.revoke();
    fabric.tick(after.expiresAtMs);
    expect(tickets.map((one) => codeOf(() => fabric.attachMem(one)))).toEqual([
      "LEASE_EXPIRED",
      "REVOKED",
      "LEASE_EXPIRED",
    ]);
  });

  it("refuses a ticket at the deadline, before the owner has got round to it", () => {
    const { fabric, lease, ticket } = granted();
    fabric.control.advanceClock(lease.expiresAtMs);
    expect(codeOf(() => fabric.attachMem(ticket))).toBe("LEASE_EXPIRED");
  });

  it("cannot reach a fabric that shares nothing from another one", () => {
    const { ticket } = granted(false);
    using other = openManual();
    expect(codeOf(() => other.attachMem(ticket))).toBe("UNSUPPORTED");
  });
});

describe("S1: a ticket that came from outside", () => {
  const { fabric, ticket, elsewhere } = granted();
  fabric.tick(START_MS);
  const wrong: [field: string, value: unknown][] = [
    ["kind", "block"],
    ["kind", undefined],
    ["version", 2],
    ["slot", -1],
    ["slot", 1.5],
    ["slot", "0"],
    ["generation", NaN],
    ["leaseId", "xyz"],
    ["leaseId", 7],
    ["offset", -64],
    ["offset", 2 ** 40],
    ["bytes", 2 ** 40],
    ["bytes", NaN],
    ["arenaBytes", "many"],
    ["arena", 5],
    ["arena", null],
    ["control", "memory"],
    ["fabric", undefined],
    ["fabric", null],
    ["fabric", {}],
    ["fabric", { ...ticket.fabric, slots: -1 }],
    ["fabric", { ...ticket.fabric, slots: 2 ** 40, fabricId: "1".repeat(32) }],
    ["fabric", { ...ticket.fabric, baseMs: NaN }],
    ["ownerThread", -1],
  ];

  it.each(wrong)("is refused by its %s: %o", (field, value) => {
    const forged = { ...ticket, [field]: value };
    for (const attach of [() => fabric.attachMem(forged), () => elsewhere.attachMem(forged)])
      expect(codeOf(attach)).toBe("INVALID_ARGUMENT");
  });

  it.each([undefined, null, 5, "ticket", [], {}])("is refused when it is %o", (value) => {
    const { message } = thrownBy(() => fabric.attachMem(value as never));
    expect(message).toMatch(/^ticket(\.kind)?: expected /);
  });
});

describe("formatId() and parseId()", () => {
  it("are inverse", () => {
    fc.assert(
      fc.property(fc.tuple(fc.integer(), fc.integer(), fc.integer(), fc.integer()), (words) => {
        expect([...parseId(formatId(Int32Array.from(words)))]).toEqual(words);
      }),
    );
  });

  it.each(["", "0".repeat(31), "0".repeat(33), "G".repeat(32), `${"0".repeat(31)}\n`, null, {}])(
    "refuse %o",
    (text) => {
      expect(codeOf(() => parseId(text))).toBe("INVALID_ARGUMENT");
    },
  );
});

const addressOf = (lease: { leaseId: string; slot: number; generation: number }) => ({
  leaseId: lease.leaseId,
  slot: lease.slot,
  generation: lease.generation,
});

describe("Fabric.leaseAt()", () => {
  it("gives the lease that an address names, of either kind", async () => {
    const { fabric, lease } = granted();
    const blocks = await fabric.block().minBlocks(1).acquire();
    expect(fabric.leaseAt({ kind: "queue", ...addressOf(lease) })).toBe(lease);
    expect(fabric.leaseAt({ kind: "block", ...addressOf(blocks) })).toBe(blocks);
    expect(fabric.leaseAt(lease.ticket())).toBe(lease);
  });

  it("refuses what is no address, another kind, and a lease that has ended or never was", async () => {
    const { fabric, lease } = granted();
    const address = addressOf(lease);
    const cases: [unknown, string][] = [
      [undefined, "INVALID_ARGUMENT"],
      [{ ...address, leaseId: "x" }, "INVALID_ARGUMENT"],
      [{ ...address, slot: -1 }, "INVALID_ARGUMENT"],
      [{ ...address, kind: "block" }, "INVALID_ARGUMENT"],
      [{ ...address, leaseId: "0".repeat(32) }, "NOT_FOUND"],
      [{ ...address, slot: 1e6 }, "NOT_FOUND"],
    ];
    for (const [came, code] of cases)
      expect(
        codeOf(() => fabric.leaseAt(came as never)),
        code,
      ).toBe(code);
    lease.release();
    expect(codeOf(() => fabric.leaseAt(address))).toBe("LEASE_EXPIRED");
  });
});
