import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { guarded, unguarded } from "../src/guard.ts";

const forbidden: readonly (readonly [string, () => unknown])[] = [
  ["Date.now", () => Date.now()],
  ["new Date()", () => new Date()],
  ["Date()", () => Date()],
  ["Math.random", () => Math.random()],
  ["performance.now", () => performance.now()],
  ["process.hrtime", () => process.hrtime()],
  ["setTimeout", () => setTimeout(() => {}, 1)],
  ["setInterval", () => setInterval(() => {}, 1)],
  ["setImmediate", () => setImmediate(() => {})],
  ["crypto.randomUUID", () => crypto.randomUUID()],
  ["crypto.getRandomValues", () => crypto.getRandomValues(new Uint8Array(1))],
  ["randomBytes", () => randomBytes(4)],
  ["readFileSync", () => readFileSync(import.meta.filename)],
  ["timers/promises", () => sleep(1)],
  ["Worker", () => new Worker("0", { eval: true })],
  ["fetch", () => fetch("http://127.0.0.1:1")],
  ["FinalizationRegistry", () => new FinalizationRegistry(() => {})],
];

function look(): unknown[] {
  const owners = [Date, globalThis];
  const names = ["Date", "now", "setTimeout"];
  return owners.flatMap((owner) => names.map((name) => Reflect.get(owner, name) as unknown));
}

describe("inside a simulation", () => {
  it.each(forbidden)("%s throws, and says what to use instead", async (_name, use) => {
    await guarded(async () => {
      expect(use).toThrow(/in a simulation: it would differ from run to run; use /);
      // However far the code has come.
      await Promise.resolve();
      expect(use).toThrow(/in a simulation/);
    });
  });

  it("leaves what is the same in every run", async () => {
    await guarded(() => {
      expect(new Date(0).getTime()).toBe(0);
      expect(new Date(0)).toBeInstanceOf(Date);
      expect(Date.UTC(2026, 0)).toBe(1_767_225_600_000);
      expect(Math.max(1, 2)).toBe(2);
      return Promise.resolve();
    });
  });

  it("G1: holds for the run alone: whoever else is in the process has its clock and timers", async () => {
    const state = { isOver: false };
    const run = guarded(async () => {
      while (!state.isOver)
        await Promise.resolve(unguarded(() => new Promise((resolve) => setImmediate(resolve))));
    });
    expect(Date.now()).toBeGreaterThan(0);
    expect(Math.random()).toBeLessThan(1);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(readFileSync(import.meta.filename).length).toBeGreaterThan(0);
    state.isOver = true;
    await run;
  });

  it("leaves the host as it was", async () => {
    const before = look();
    await guarded(() => Promise.resolve());
    await expect(guarded(() => Promise.reject(new Error("thrown")))).rejects.toThrow("thrown");
    expect(look()).toEqual(before);
    expect(Object.hasOwn(performance, "now")).toBe(false);
  });
});
