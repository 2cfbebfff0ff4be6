import { eventLogger, runTasks } from "@selvage/node";
import { describe, expect, it, vi } from "vitest";

describe("runTasks() on this host", () => {
  it("runs with real timers and signals", async () => {
    let reason: unknown;
    const job = runTasks(
      [
        {
          name: "slow",
          timeoutMs: 5,
          maxRetries: 0,
          fn: (_, { signal }) =>
            new Promise((resolve) => {
              signal.addEventListener("abort", () => {
                reason = signal.reason;
                resolve({});
              });
            }),
        },
      ],
      { ctx: { v: 1 } },
    );
    const { state, error, ctx } = await job;
    expect([state, ctx]).toEqual(["failed", { v: 1 }]);
    expect(error).toBe(reason);
    expect(job.tasks()[0]?.errors[0]?.failedAtMs).toBeGreaterThan(1_700_000_000_000);
  });

  it("logs to the console where nothing else is given", async () => {
    const log = vi.spyOn(console, "log").mockImplementation(() => {});
    await runTasks([{ name: "a", fn: () => ({}) }], { onEvent: eventLogger() });
    expect(log.mock.calls.flat()).toContain("a > running -> completed");
    log.mockRestore();
  });
});
