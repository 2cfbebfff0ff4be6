import { execSync } from "node:child_process";
import { generateKeyPairSync, randomBytes, webcrypto } from "node:crypto";
import fs, { existsSync, readFileSync } from "node:fs";
import promises, { stat } from "node:fs/promises";
import { connect } from "node:net";
import { uptime } from "node:os";
import { scheduler, setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { guarded, unguarded } from "../src/guard.ts";

const words = new Int32Array(new SharedArrayBuffer(4));

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
  ["process.hrtime.bigint", () => process.hrtime.bigint()],
  ["process.cpuUsage", () => process.cpuUsage()],
  ["os.uptime", () => uptime()],
  ["performance.timeOrigin", () => performance.timeOrigin],
  ["performance.mark", () => performance.mark("mark")],
  ["a date's constructor", () => new (new Date(0).constructor as DateConstructor)()],
  ["format without a date", () => new Intl.DateTimeFormat().format()],
  ["formatToParts without a date", () => new Intl.DateTimeFormat().formatToParts()],
  ["AbortSignal.timeout", () => AbortSignal.timeout(1_000)],
  ["scheduler.wait", () => scheduler.wait(1)],
  ["MessageChannel", () => new MessageChannel()],
  ["Atomics.waitAsync", () => Atomics.waitAsync(words, 0, 0, 1)],
  ["Atomics.wait", () => Atomics.wait(words, 0, 0, 1)],
  ["crypto.subtle.generateKey", () => crypto.subtle.generateKey("Ed25519", true, ["sign"])],
  ["getRandomValues", () => webcrypto.getRandomValues(new Uint8Array(1))],
  ["generateKeyPairSync", () => generateKeyPairSync("ed25519")],
  ["existsSync", () => existsSync(import.meta.filename)],
  ["fs.promises", () => fs.promises.readdir(".")],
  ["fs/promises", () => stat(".")],
  ["execSync", () => execSync("true")],
  ["net.connect", () => connect(1)],
  ["fetch", () => fetch("http://127.0.0.1:1")],
  ["FinalizationRegistry", () => new FinalizationRegistry(() => {})],
];

function look(): unknown[] {
  const owners = [Date, globalThis, Date.prototype, fs, scheduler, process.hrtime];
  const names = ["Date", "now", "setTimeout", "constructor", "existsSync", "wait", "bigint"];
  return owners.flatMap((owner) => names.map((name) => Reflect.get(owner, name) as unknown));
}

function functionsOf(owner: object): readonly string[] {
  return Object.entries(owner)
    .filter(([name, value]) => typeof value === "function" && /^[a-z]/.test(name))
    .map(([name]) => name);
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

  it("takes every function of the file system, whatever a later runtime adds", async () => {
    const free: string[] = [];
    for (const owner of [fs, promises] as const)
      for (const name of functionsOf(owner))
        await guarded(() => {
          try {
            Reflect.apply(Reflect.get(owner, name) as () => unknown, owner, []);
            free.push(name);
          } catch (thrown) {
            if (!String(thrown).includes("in a simulation")) free.push(name);
          }
          return Promise.resolve();
        });
    expect(functionsOf(fs).length).toBeGreaterThan(80);
    expect(free).toEqual([]);
  });

  it("leaves what is the same in every run", async () => {
    await guarded(() => {
      expect(new Date(0).getTime()).toBe(0);
      expect(new Date(0)).toBeInstanceOf(Date);
      expect(Date.UTC(2026, 0)).toBe(1_767_225_600_000);
      expect(Math.max(1, 2)).toBe(2);
      const format = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC" });
      expect(format.format(0)).toBe("01/01/1970");
      expect(format.formatToParts(0)).toHaveLength(5);
      expect(new Date(0).constructor).toBe(Date);
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
    expect(Object.hasOwn(performance, "timeOrigin")).toBe(false);
    expect(new Intl.DateTimeFormat().format()).not.toBe("");
  });
});
