import { RunProgress, type ExecutionEvent } from "@selvage/batch";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { idle, planOf, raw, Rig } from "./rig.ts";

const size = { columns: 100, rows: 12 };

async function eventsOf(rig: Rig, ...args: Parameters<Rig["run"]>): Promise<ExecutionEvent[]> {
  await rig.run(...args);
  return rig.events;
}

describe("RunProgress", () => {
  const plan = planOf(
    [
      idle("read", { outputs: [raw("rows")], run: () => ({ rows: new Uint8Array(2_000) }) }),
      idle("count", {
        inputs: [raw("rows")],
        retries: 1,
        run(ctx) {
          if (ctx.attempt === 1) throw new Error("not yet");
          ctx.progress(0.5);
        },
      }),
      idle("lost", {
        run() {
          throw new Error("no such host");
        },
      }),
      idle("never"),
    ],
    [
      ["read", "count"],
      ["lost", "never"],
    ],
  );

  it("counts every task in exactly one place after each event, and ends with the run's own counts", async () => {
    const events = await eventsOf(new Rig(), plan);
    const progress = new RunProgress(plan);
    for (const event of events) {
      progress.take(event);
      const counts = [...progress.summary(event.atMs).matchAll(/[✓✕⏱↷◼▸↻○] (\d+)/gu)];
      expect(counts.reduce((sum, [, count]) => sum + Number(count), 0)).toBe(4);
    }
    expect(progress.summary(0)).toMatch(/^✓ 2 succeeded {3}✕ 1 failed {3}↷ 1 skipped {3}\d/);
    expect([progress.isSettled, progress.openLeases]).toEqual([true, 0]);
    expect(progress.screen(0, size).join("\n")).toContain(
      "0 bytes in 0 leases, at most 2 KiB   ↻ 1 retry",
    );
  });

  it("shows what runs, how far it is, and the last failure", async () => {
    const events = await eventsOf(new Rig(), plan);
    const progress = new RunProgress(plan);
    const screens: string[] = [];
    for (const event of events) {
      progress.take(event);
      screens.push(progress.screen(event.atMs + 1_500, size).join("\n"));
    }
    const half = screens.find((screen) => screen.includes(" 50 %"));
    expect(half).toMatch(/▸ count +█{10}░{10} {2}50 % +\d.* s +attempt 2/);
    expect(half).toContain("✕ count will try again (not yet)");
  });

  it("gives a line for each transition", async () => {
    const progress = new RunProgress(plan);
    const lines = (await eventsOf(new Rig(), plan)).flatMap((event) => {
      progress.take(event);
      return progress.line(event) ?? [];
    });
    const told = lines.map((line) => line.replace(/^\[ *\d+\.\d\d s\] /, ""));
    expect(told).toContain("wave 1: read, lost");
    expect(told).toContain("count started (attempt 2)");
    expect(told).toContain("lost failed (no such host)");
    expect(told).toContain("never skipped because of lost");
    expect(told.at(-1)).toBe("settled: failed");
  });

  it("fits its room, and lets no name or message move the cursor", () => {
    const text = fc.string({ unit: "binary", minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(
        fc.array(text, { maxLength: 40 }),
        fc.integer({ min: 1, max: 200 }),
        fc.integer({ min: 5, max: 50 }),
        (names, columns, rows) => {
          const progress = new RunProgress();
          const about = { oldState: "pending", attempt: 1, atMs: 0 } as const;
          for (const name of names) {
            const started = { type: "task", name, newState: "running", ...about } as const;
            const failed = {
              ...started,
              name: `${name}!`,
              newState: "failed",
              error: name,
            } as const;
            for (const event of [started, failed]) {
              progress.take(event);
              expect(progress.line(event)).not.toMatch(/\p{Cc}/u);
            }
          }
          const screen = progress.screen(0, { columns, rows });
          expect(screen.length).toBeLessThanOrEqual(rows);
          for (const line of screen) expect(line).not.toMatch(/\p{Cc}/u);
        },
      ),
    );
  });
});
