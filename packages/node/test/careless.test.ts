import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Executor, Fabric, RenewalManager, TaskGraph } from "selvage";
import { describe, expect, it } from "vitest";

const run = promisify(execFile);
const refused = (code: string): unknown => expect.objectContaining({ code });

describe("careless use", () => {
  const plan = new TaskGraph().build();

  it.each([
    ["a graph that was not built", () => Executor.run(new TaskGraph() as never)],
    ["no plan", () => Executor.run(undefined as never)],
    ["options that are null", () => Executor.run(plan, null as never)],
    ["a fabric that is none", () => Executor.run(plan, { fabric: {} as never })],
    ["a signal that is none", () => Executor.run(plan, { signal: {} as never })],
    ["an onEvent that is none", () => Executor.run(plan, { onEvent: 5 as never })],
    ["renewals that are none", () => Executor.run(plan, { renewals: true as never })],
    ["an option that is none", () => Executor.run(plan, { ttl: 5 } as never)],
  ])("Executor.run() with %s ends in INVALID_ARGUMENT", async (_, call) => {
    await expect(call()).rejects.toEqual(refused("INVALID_ARGUMENT"));
  });

  it.each([{ spill: 1 }, { schedule: "later" }, { maxConcurrency: 0 }, { timeoutMs: -1 }])(
    "Executor.run(plan, %o) is INVALID_ARGUMENT",
    async (options) => {
      await expect(Executor.run(plan, options as never)).rejects.toEqual(
        refused("INVALID_ARGUMENT"),
      );
    },
  );

  it.each([null, { memoryByte: 5 }, { memoryBytes: 0 }, { blockFile: 5 }, { blockAccess: "read" }])(
    "Fabric.open(%o) is INVALID_ARGUMENT",
    (options) => {
      expect(() => Fabric.open(options as never)).toThrow(refused("INVALID_ARGUMENT"));
    },
  );

  it("a RenewalManager without a fabric is INVALID_ARGUMENT", () => {
    expect(() => new RenewalManager(undefined as never)).toThrow(refused("INVALID_ARGUMENT"));
  });

  it("a RenewalManager that nobody ticks makes room for new leases by itself", () => {
    using fabric = Fabric.open({ memoryBytes: 1 << 16, blocks: 0, tick: "manual" });
    using renewals = new RenewalManager(fabric);
    for (let count = 0; count < 65_600; count++) {
      using lease = fabric.mem().leaseMs(1_000).acquire();
      renewals.register(lease.leaseId, lease.expiresAtMs);
    }
    expect(fabric.stats().memory.released).toBe(65_600);
  });

  it("a cancelled run does not wait for a body that ignores its signal, and says what it left", async () => {
    const graph = new TaskGraph();
    graph.addTask({
      name: "deaf",
      outputs: [{ name: "x", format: "raw" }],
      run(context) {
        context.allocate("x", 100);
        return new Promise(() => {});
      },
    });
    const cancel = new AbortController();
    const running = Executor.run(graph.build(), {
      signal: cancel.signal,
      ttlMs: 300,
      graceMs: 100,
      onEvent: (event) => {
        if (event.type === "lease" && event.event.type === "granted") cancel.abort();
      },
    });
    const result = await running;
    expect(result).toMatchObject({ status: "cancelled", bytes: { active: 128 } });
    expect(result.teardownMs).toBeLessThan(5_000);
  });

  it("a program given by --eval leases, is kept, and ends", async () => {
    const program =
      'import { Fabric } from "selvage"; using fabric = Fabric.open({ memoryBytes: 1 << 20 });' +
      "const lease = fabric.mem().leaseMs(60_000).acquire(); await fabric.keeper()?.ready;" +
      "console.log(lease.state, fabric.keeper() !== undefined)";
    const flags = process.execArgv.filter((flag) => flag.startsWith("--conditions="));
    const { stdout, stderr } = await run(
      process.execPath,
      [...flags, "--input-type=module", "--eval", program],
      { cwd: fileURLToPath(new URL(".", import.meta.url)) },
    );
    expect([stdout, stderr]).toEqual(["active true\n", ""]);
  });
});
