import { spawnSync } from "node:child_process";
import type { EventEmitter } from "node:events";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { FabricEventType, MemLease } from "@selvage/fabric";
import { Fabric, systemThreads } from "@selvage/node";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { PeerCommand, PeerData } from "./threads/peer-worker.ts";
import { attachUnheard } from "./threads/unheard.ts";

const peer = new URL("./threads/peer-worker.ts", import.meta.url);
const unheard = fileURLToPath(new URL("./threads/unheard-process.ts", import.meta.url));
const bounded = { timeout: 10_000, interval: 5 };

const opened: Fabric[] = [];

afterEach(() => {
  for (const fabric of opened.splice(0)) fabric[Symbol.dispose]();
});

function open(): { fabric: Fabric; seen: FabricEventType[] } {
  const fabric = Fabric.open({ memoryBytes: 1 << 16, blocks: 0, maxLeases: 64 });
  opened.push(fabric);
  const seen: FabricEventType[] = [];
  fabric.subscribe(({ type }) => void seen.push(type));
  return { fabric, seen };
}

/** A worker that has attached to each lease. */
async function attach(...leases: MemLease[]): Promise<Worker> {
  const workerData: PeerData = { tickets: leases.map((lease) => lease.ticket()) };
  const worker = new Worker(peer, { workerData });
  await once(worker, "message");
  return worker;
}

function order(worker: Worker, command: PeerCommand): void {
  worker.postMessage(command);
}

const free = (fabric: Fabric) => (): void =>
  expect(fabric.stats().memory.freeBytes).toBe(fabric.options.memoryBytes);

const listeners = (): number => process.listenerCount("workerMessage");
// The types of `process.emit` know no "workerMessage".
const emitter: EventEmitter = process;
const tell = (message: unknown): boolean => emitter.emit("workerMessage", message, 0);

describe("a thread that attached", () => {
  it("is nudged when bytes wait for it, though it is idle, and they go back", async () => {
    const { fabric, seen } = open();
    const lease = fabric.mem().acquire();
    const worker = await attach(lease);
    lease.release();
    await vi.waitFor(free(fabric), bounded);
    expect(seen).toEqual(["granted", "released", "reclaimed"]);
    await worker.terminate();
  });

  it("holds bytes back while it is busy, and gives them up at its next turn", async () => {
    const { fabric } = open();
    const lease = fabric.mem().acquire();
    const worker = await attach(lease);
    const turn = new Int32Array(new SharedArrayBuffer(4));
    order(worker, { type: "block", until: turn });
    await once(worker, "message");
    lease.release();
    for (let count = 0; count < 20; count++) fabric.tick(fabric.nowMs());
    expect(fabric.stats().memory.quarantinedBytes).toBe(lease.bytes);
    Atomics.store(turn, 0, 1);
    Atomics.notify(turn, 0);
    await vi.waitFor(free(fabric), bounded);
    await worker.terminate();
  });

  it.each([
    ["returns", (worker: Worker) => order(worker, { type: "end" })],
    ["calls process.exit", (worker: Worker) => order(worker, { type: "exit" })],
    ["throws", (worker: Worker) => order(worker, { type: "throw" })],
    ["is terminated in a busy loop", (worker: Worker) => void worker.terminate()],
  ])("is noticed gone when it %s, and its bytes go back at once", async (how, end) => {
    const { fabric, seen } = open();
    const lease = fabric.mem().acquire();
    const worker = await attach(lease);
    if (how.includes("busy")) {
      order(worker, { type: "spin" });
      await once(worker, "message");
    }
    lease.release();
    // Not `once`, which takes the thrown error for its own.
    const exit = new Promise((resolve) => worker.on("error", () => {}).once("exit", resolve));
    end(worker);
    await exit;
    await vi.waitFor(free(fabric), bounded);
    expect(seen).not.toContain("fenced");
  });

  it.each(["main", "worker"])(
    "is noticed gone when it ends before its introduction was heard: by a fabric of the %s thread",
    (owner) => {
      const args = [...process.execArgv, unheard, owner];
      const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
      expect([stdout, stderr]).toEqual(["3\n", ""]);
    },
    20_000,
  );

  it("is not taken for gone because the owner's loop stood still while it introduced itself", async () => {
    const { fabric } = open();
    const lease = fabric.mem().acquire();
    const { worker, go } = attachUnheard(lease);
    // The owner learns of the thread's entry first.
    fabric.tick(fabric.nowMs());
    lease.release();
    for (let turn = 0; turn < 30; turn++) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(fabric.stats().memory.quarantinedBytes).toBe(lease.bytes);
    go();
    await vi.waitFor(free(fabric), bounded);
    await worker.terminate();
  });

  it("may attach to two fabrics, and to a lease whose fabric has closed since it got the ticket not", async () => {
    const [one, two] = [open().fabric, open().fabric];
    const leases = [one.mem().acquire(), two.mem().acquire()];
    const worker = await attach(...leases);
    for (const lease of leases) lease.release();
    await vi.waitFor(free(one), bounded);
    await vi.waitFor(free(two), bounded);
    const late = one.mem().acquire().ticket();
    await one.close();
    order(worker, { type: "attach", ticket: late });
    const [answer] = (await once(worker, "message")) as [string];
    expect(answer).toMatch(/^(REVOKED|LEASE_EXPIRED)$/);
    await worker.terminate();
  });
});

describe("a thread that attached to a fabric of its own", () => {
  it("by another fabric or by Fabric.attachMem, announces: ended leases go back, none is fenced", async () => {
    const { fabric, seen } = open();
    const { fabric: other } = open();
    const [one, two] = [fabric.mem().acquire(), fabric.mem().acquire()];
    const copies = [other.attachMem(one.ticket()), Fabric.attachMem(two.ticket())];
    one.write(0, Uint8Array.of(5));
    expect(copies[0]?.read(0, 1)).toEqual(Uint8Array.of(5));
    one.release();
    two.release();
    await vi.waitFor(free(fabric), bounded);
    expect(seen).not.toContain("fenced");
  });
});

describe("systemThreads", () => {
  it("listens on the process once however many fabrics there are, and not after the last", () => {
    const before = listeners();
    const fabrics = [1, 2, 3].map(() => open().fabric);
    expect(listeners()).toBe(before + 1);
    for (const fabric of fabrics) fabric[Symbol.dispose]();
    expect(listeners()).toBe(before);
  });

  it("nudges by a message, again and again, not only by each thread's own timer", async () => {
    vi.stubGlobal("setInterval", () => ({ unref() {} }));
    const host = systemThreads.host("a fabric", () => {});
    let heard = 0;
    systemThreads.introduce(
      systemThreads.threadId,
      "a fabric",
      1,
      () => void heard++,
      () => {},
    );
    vi.unstubAllGlobals();
    await vi.waitFor(() => {
      host.nudge();
      expect(heard).toBeGreaterThanOrEqual(3);
    }, bounded);
    host.close();
  });

  it("does not stumble over messages that are not for it", () => {
    open();
    for (const message of [null, undefined, 7, "selvage.introduction", {}, [], { type: 1 }])
      expect(() => tell(message)).not.toThrow();
    const type = "selvage.introduction";
    expect(() => tell({ type, fabricId: "none", nonce: 1 })).not.toThrow();
  });
});
