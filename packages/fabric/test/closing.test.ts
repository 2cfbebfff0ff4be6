import { describe, expect, it } from "vitest";
import { codeOf, openManual, openOn, rejectionOf, settled, START_MS, VirtualHost } from "./rig.ts";

describe("Fabric.close()", () => {
  it("revokes at once what stands, and leaves nothing", async () => {
    const host = new VirtualHost();
    const fabric = openOn(host, { tick: "auto", shared: false });
    const mem = fabric.mem().acquire();
    const disk = await fabric.block().acquire();
    const closing = fabric.close();
    await host.advance(20);
    expect(await closing).toEqual({ revoked: 2, pending: 0, pendingBytes: 0 });
    expect([mem.state, disk.state, host.alarms]).toEqual(["revoked", "revoked", 0]);
  });

  it("lets leases end by themselves until its deadline, and takes no new ones meanwhile", async () => {
    const host = new VirtualHost();
    const fabric = openOn(host, { tick: "auto", shared: false });
    const short = fabric.mem().leaseMs(50).acquire();
    const long = fabric.mem().leaseMs(10_000).acquire();
    const closing = fabric.close({ deadlineMs: 100 });
    expect(codeOf(() => fabric.mem().acquire())).toBe("DISCONNECTED");
    expect((await rejectionOf(fabric.block().acquire())).code).toBe("DISCONNECTED");
    await host.advance(90);
    expect([short.state, long.state]).toEqual(["expired", "active"]);
    await host.advance(20);
    expect(await closing).toEqual({ revoked: 1, pending: 0, pendingBytes: 0 });
    expect(long.state).toBe("revoked");
  });

  it("comes early when the last lease ends", async () => {
    const host = new VirtualHost();
    const fabric = openOn(host, { tick: "auto", shared: false });
    const lease = fabric.mem().acquire();
    const closing = fabric.close({ deadlineMs: Infinity });
    await host.advance(1_000);
    lease.release();
    await host.advance(10);
    expect(await closing).toEqual({ revoked: 0, pending: 0, pendingBytes: 0 });
  });

  it("finishes also where time is ticked by hand and stands still", async () => {
    const host = new VirtualHost();
    const fabric = openOn(host, {}, { clock: { nowMs: () => START_MS } });
    const lease = fabric.mem().acquire();
    const loan = lease.lend();
    const closing = fabric.close({ deadlineMs: 100 });
    await host.advance(5_000);
    expect(await closing).toEqual({ revoked: 1, pending: 1, pendingBytes: 64 });
    loan.end();
  });

  it("says how many bytes a loan still holds after a second's wait", async () => {
    const host = new VirtualHost();
    const fabric = openOn(host, { tick: "auto", shared: false });
    using loan = fabric.mem().minBytes(128).acquire().lend();
    let summary: unknown;
    void fabric.close().then((value) => (summary = value));
    await host.advance(990);
    expect(summary).toBeUndefined();
    await host.advance(20);
    expect([summary, loan.lapsed]).toEqual([{ revoked: 1, pending: 1, pendingBytes: 128 }, true]);
  });

  it("does nothing the second time", async () => {
    const fabric = openManual();
    fabric.mem().acquire();
    expect((await fabric.close()).revoked).toBe(1);
    expect((await fabric.close()).revoked).toBe(0);
    fabric[Symbol.dispose]();
  });

  it.each([-1, NaN, "5"])("refuses a deadline of %s", async (deadlineMs) => {
    using fabric = openManual();
    const closing = fabric.close({ deadlineMs: deadlineMs as number });
    expect((await rejectionOf(closing)).code).toBe("INVALID_ARGUMENT");
    expect(fabric.mem().acquire().state).toBe("active");
  });
});

describe("a closed fabric", () => {
  it("takes no operation on its leases, and answers what is left to ask", async () => {
    const fabric = openManual();
    const lease = fabric.mem().acquire();
    const ticket = lease.ticket();
    const disk = await fabric.block().acquire();
    fabric[Symbol.dispose]();
    await settled();
    expect([
      codeOf(() => lease.read(0, 1)),
      codeOf(() => lease.renew(1)),
      codeOf(() => fabric.mem().acquire()),
      codeOf(() => fabric.attachMem(ticket)),
      (await rejectionOf(disk.readBlock(0))).code,
    ]).toEqual(["REVOKED", "REVOKED", "DISCONNECTED", "REVOKED", "REVOKED"]);
    expect([lease.release(), fabric.leases().length, fabric.stats().memory.revoked]).toEqual([
      false,
      0,
      1,
    ]);
    expect(() => fabric.tick(START_MS + 1)).not.toThrow();
  });

  it("leaves no timer, closed by `using`, by `await using` or by close()", async () => {
    const host = new VirtualHost();
    {
      using fabric = openOn(host, { tick: "auto", shared: false });
      expect([fabric.leases(), host.alarms]).toEqual([[], 1]);
    }
    {
      await using fabric = openOn(host, { tick: "auto", shared: false });
      expect(fabric.leases()).toEqual([]);
    }
    await openOn(host, { tick: "auto", shared: false }).close();
    expect(host.alarms).toBe(0);
  });
});
