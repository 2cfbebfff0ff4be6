import { TaskGraph, type DataFormat, type TaskDef } from "@selvage/batch";
import { RenewalManager } from "@selvage/leasekit";
import { describe, expect, it } from "vitest";
import { codesOf, imbalances, planOf, raw, Rig } from "./rig.ts";

const ttlMs = 100;

const make = (name: string, value: unknown, format: DataFormat = "raw"): TaskDef => ({
  name: `make ${name}`,
  outputs: [{ name, format }],
  run: () => ({ [name]: value }),
});

const bytes = Uint8Array.of(1, 2, 3);

const objecting = (event: { readonly type: string }): void => {
  if (event.type === "settled") throw new Error("watcher");
};

describe("An output that is kept", () => {
  it("K2: outlives the run, is counted as kept and not as returned, and is the caller's to release", async () => {
    const rig = new Rig();
    const plan = planOf([make("report", bytes), make("scrap", bytes)]);
    const result = await rig.run(plan, { ttlMs, keep: ["report"] });
    expect(result.bytes).toMatchObject({ leased: 128, returned: 64, kept: 64, active: 0 });
    expect(result.leases).toMatchObject({ granted: 2, expired: 1, active: 1 });
    expect(imbalances(result)).toEqual([]);
    const kept = result.keep("report");
    expect(kept.read()).toEqual(bytes);
    expect([kept.name, kept.format, kept.bytes]).toEqual(["report", "raw", 3]);
    expect(result.keep("report")).toBe(kept);
    kept.lease.release();
    expect(rig.fabric.stats().memory.freeBytes).toBe(1 << 20);
    expect(() => kept.read()).toThrow(expect.objectContaining({ code: "LEASE_EXPIRED" }));
  });

  it.each<[DataFormat, unknown]>([
    ["json", { a: [1] }],
    ["columns", { id: Int32Array.of(4, 5) }],
  ])("is read as what it was: %s", async (format, value) => {
    const rig = new Rig();
    const result = await rig.run(planOf([make("x", value, format)]), { ttlMs, keep: ["x"] });
    expect(result.keep("x").read<unknown>()).toEqual(value);
  });

  it("K1: is renewed until it is taken, and has a whole TTL then, that nobody renews", async () => {
    const rig = new Rig();
    const result = await rig.run(planOf([make("x", bytes)]), { ttlMs, keep: ["x"] });
    await rig.host.advance(10 * ttlMs);
    const { lease } = result.keep("x");
    expect(lease.expiresAtMs - rig.fabric.nowMs()).toBe(ttlMs);
    await rig.host.advance(ttlMs - 10);
    expect(lease.state).toBe("active");
    await rig.host.advance(20);
    expect(lease.state).toBe("expired");
    expect(rig.fabric.stats().memory.freeBytes).toBe(1 << 20);
  });

  it("K1: is the caller's once it is taken, whatever else is not taken and whoever renews", async () => {
    const rig = new Rig();
    const renewals = new RenewalManager(rig.fabric);
    const plan = planOf([make("x", bytes), make("y", bytes)]);
    const result = await rig.run(plan, { ttlMs, renewals, keep: ["x", "y"] });
    const { lease } = result.keep("x");
    await rig.host.advance(3 * ttlMs);
    expect(lease.state).toBe("expired");
    expect(result.keep("y").lease.state).toBe("active");
  });

  it("K1: expires where nobody takes it within stallMs, and nothing of the run stays behind", async () => {
    const rig = new Rig();
    const before = rig.host.alarms;
    const result = await rig.run(planOf([make("x", bytes)]), { ttlMs, stallMs: 500, keep: ["x"] });
    expect(rig.host.alarms).toBe(before + 2);
    await rig.host.advance(500 + ttlMs + 10);
    expect(rig.fabric.stats().memory.freeBytes).toBe(1 << 20);
    expect(() => result.keep("x")).toThrow(expect.objectContaining({ code: "LEASE_EXPIRED" }));
    expect(rig.host.alarms).toBe(before);
  });

  it("is there also when another task failed, and not when its own did", async () => {
    const rig = new Rig();
    const fail: TaskDef = {
      name: "fail",
      outputs: [raw("y")],
      run: () => {
        throw new Error("no");
      },
    };
    const plan = planOf([make("x", bytes), fail]);
    const result = await rig.run(plan, { ttlMs, keep: ["x", "y"] });
    expect([result.status, result.bytes.kept]).toEqual(["failed", 64]);
    expect(result.keep("x").read()).toEqual(bytes);
    expect(() => result.keep("y")).toThrow(expect.objectContaining({ code: "NOT_FOUND" }));
    expect(() => result.keep("z")).toThrow(expect.objectContaining({ code: "NOT_FOUND" }));
  });

  it("is there when the run was cancelled after its task", async () => {
    const rig = new Rig();
    const controller = new AbortController();
    const plan = planOf(
      [make("x", bytes), { name: "wait", run: () => rig.host.later(10_000) }],
      [["make x", "wait"]],
    );
    const running = rig.start(plan, { ttlMs, keep: ["x"], signal: controller.signal });
    await rig.host.advance(50);
    controller.abort();
    const result = await rig.host.pump(running);
    expect([result.status, result.bytes.kept, imbalances(result)]).toEqual(["cancelled", 64, []]);
    expect(result.keep("x").read()).toEqual(bytes);
  });

  it("K2: is returned, and not kept, where its lease ends before the run does", async () => {
    const rig = new Rig();
    const plan = planOf([make("x", bytes), make("y", bytes)]);
    const running = rig.start(plan, {
      ttlMs,
      keep: ["x"],
      onEvent: (event) => {
        if (event.type !== "lease" || event.event.type !== "expired") return;
        for (const lease of rig.fabric.leases()) lease.revoke();
      },
    });
    const result = await rig.host.pump(running);
    expect(result.bytes).toMatchObject({ leased: 128, returned: 128, kept: 0, active: 0 });
    expect(imbalances(result)).toEqual([]);
  });

  it("is given back where the run rejects", async () => {
    const rig = new Rig();
    const running = rig.run(planOf([make("x", bytes)]), { ttlMs, keep: ["x"], onEvent: objecting });
    await expect(running).rejects.toThrow("watcher");
    expect(rig.fabric.stats().memory.freeBytes).toBe(1 << 20);
  });

  it("is refused without a fabric that outlives the run, and under a name that no task makes", async () => {
    const rig = new Rig();
    const plan = planOf([make("x", bytes)]);
    const refused = expect.objectContaining({ code: "INVALID_ARGUMENT" });
    await expect(rig.run(plan, { keep: ["y"] })).rejects.toEqual(refused);
    await expect(rig.run(plan, { keep: ["x"], fabric: undefined as never })).rejects.toEqual(
      refused,
    );
    await expect(rig.run(plan, { keep: "x" as never })).rejects.toEqual(refused);
  });

  it("leaves the result plain data", async () => {
    const rig = new Rig();
    const result = await rig.run(planOf([make("x", bytes)]), { ttlMs, keep: ["x"] });
    expect(structuredClone(result).bytes).toEqual(result.bytes);
    expect(Object.keys(result)).not.toContain("keep");
  });
});

/** Reads `x`, takes `forMs`, and makes `y` of it, one higher. */
function plusOne(rig: Rig, forMs: number): TaskGraph {
  const graph = new TaskGraph();
  graph.addInput(raw("x"));
  graph.addTask({
    name: "plus",
    inputs: [raw("x")],
    outputs: [raw("y")],
    run: async (context) => {
      await rig.host.later(forMs);
      return { y: context.input("x").map((byte) => byte + 1) };
    },
  });
  return graph;
}

describe("A chain of runs", () => {
  it("hands a kept output on: its lease is renewed while it may be read, and expires a TTL after", async () => {
    const rig = new Rig();
    const first = await rig.run(planOf([make("x", bytes)]), { ttlMs, keep: ["x"] });
    const x = first.keep("x");
    const startedAtMs = rig.host.nowMs;
    const second = await rig.run(plusOne(rig, 5 * ttlMs).build(), {
      ttlMs,
      keep: ["y"],
      inputs: { x },
    });
    expect([second.status, second.keep("y").read()]).toEqual(["succeeded", Uint8Array.of(2, 3, 4)]);
    // Not the second run's: it neither counts nor waits for it.
    expect(second.bytes).toMatchObject({ leased: 64, kept: 64 });
    expect(x.lease.expiresAtMs).toBeGreaterThan(startedAtMs + 5 * ttlMs);
    expect(x.lease.expiresAtMs).toBeLessThanOrEqual(startedAtMs + 6 * ttlMs);
    await rig.host.advance(2 * ttlMs);
    expect([x.lease.state, rig.fabric.stats().memory.freeBytes]).toEqual(["expired", 1 << 20]);
  });

  it("never releases a lease that it was given, and may be given it twice", async () => {
    const rig = new Rig();
    const { keep } = await rig.run(planOf([make("x", bytes)]), { ttlMs, keep: ["x"] });
    const inputs = { x: keep("x") };
    inputs.x.lease.renew(60_000);
    const plan = plusOne(rig, 10).build();
    const runs = [
      rig.start(plan, { teardown: "eager", inputs }),
      rig.start(plan, { ttlMs, inputs }),
    ];
    const results = await rig.host.pump(Promise.all(runs));
    expect(results.map(({ status }) => status)).toEqual(["succeeded", "succeeded"]);
    expect(inputs.x.lease.state).toBe("active");
  });

  it("takes any lease of its fabric, and the bytes of it that count", async () => {
    const rig = new Rig();
    const lease = rig.fabric.mem().minBytes(64).leaseMs(1_000).acquire();
    lease.write(0, bytes);
    const inputs = { x: { lease, format: "raw", bytes: 2 } } as const;
    const result = await rig.run(plusOne(rig, 0).build(), { ttlMs, keep: ["y"], inputs });
    expect(result.keep("y").read()).toEqual(Uint8Array.of(2, 3));
  });

  it("fails the tasks that read a lease which ended meanwhile", async () => {
    const rig = new Rig();
    const lease = rig.fabric.mem().leaseMs(1_000).acquire();
    const running = rig.start(plusOne(rig, 500).build(), {
      ttlMs,
      inputs: { x: { lease, format: "raw" } },
    });
    await rig.host.advance(100);
    lease.revoke();
    expect(codesOf(await rig.host.pump(running), "plus")).toEqual(["REVOKED"]);
  });

  it("refuses inputs that are missing, too many, over, of another format or of another fabric", async () => {
    const rig = new Rig();
    const plan = plusOne(rig, 0).build();
    const lease = rig.fabric.mem().leaseMs(1_000).acquire();
    const over = rig.fabric.mem().leaseMs(1_000).acquire();
    over.release();
    const other = new Rig().fabric.mem().leaseMs(1_000).acquire();
    const code = async (inputs: object | undefined): Promise<unknown> =>
      rig
        .run(plan, inputs === undefined ? {} : { inputs: inputs as never })
        .then(({ status }) => status)
        .catch((error: { code?: unknown }) => error.code);
    expect(await code(undefined)).toBe("UNRESOLVED_REF");
    expect(await code({})).toBe("UNRESOLVED_REF");
    const x = { lease, format: "raw" };
    expect(await code({ x, y: x })).toBe("INVALID_ARGUMENT");
    expect(await code({ x: { lease, format: "json" } })).toBe("CONFLICT");
    expect(await code({ x: { lease: other, format: "raw" } })).toBe("INVALID_ARGUMENT");
    expect(await code({ x: { lease, format: "raw", bytes: 65 } })).toBe("INVALID_ARGUMENT");
    expect(await code({ x: lease })).toBe("INVALID_ARGUMENT");
    expect(await code({ x: { lease: over, format: "raw" } })).toBe("LEASE_EXPIRED");
    expect(rig.taskEvents).toEqual([]);
    expect(await code({ x })).toBe("succeeded");
  });

  it("is checked when it is built: an input's name is taken, and its format binds", () => {
    const graph = new TaskGraph();
    graph.addInput(raw("x"));
    graph.addTask(make("x", bytes));
    expect(() => graph.build()).toThrow(/made twice, by the run's caller and "make x"/);
    const formats = new TaskGraph();
    formats.addInput({ name: "x", format: "json" });
    formats.addTask({ name: "read", inputs: [raw("x")], run: () => {} });
    expect(() => formats.build()).toThrow(expect.objectContaining({ code: "CONFLICT" }));
    expect(() => formats.addInput({ name: "", format: "raw" })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });
});
