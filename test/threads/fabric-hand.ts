/* oxlint-disable vitest/no-standalone-expect -- called from inside tests only */
/** The test's hand on a worker: one command, one answer. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { Fabric, createMemoryProvider } from "@selvage/node";
import { bufferMemoryProvider, type FabricOptions, type MemTicket } from "@selvage/fabric";
import { expect } from "vitest";
import { INSIDE, type Answer, type Command } from "./fabric-worker.ts";

export type Kind = "wasm" | "shared";
export const kinds: readonly Kind[] = ["wasm", "shared"];

/** A fabric of this thread on memory of one kind, ticked by hand unless told otherwise. */
export function openFabric(kind: Kind, options: FabricOptions = {}): Fabric {
  const memory = kind === "wasm" ? createMemoryProvider() : bufferMemoryProvider;
  const fabric = Fabric.open(
    { memoryBytes: 65_536, blocks: 0, maxLeases: 256, tick: "manual", ...options },
    { memory },
  );
  const probe = fabric.mem().acquire();
  const handle = probe.ticket().arena;
  expect(handle instanceof SharedArrayBuffer ? "shared" : "wasm").toBe(kind);
  probe.release();
  fabric.tick(fabric.nowMs());
  return fabric;
}

/** A worker that obeys. */
export class Hand {
  readonly worker: Worker;

  constructor() {
    this.worker = new Worker(new URL("./fabric-worker.ts", import.meta.url));
  }

  /** Sends a command; resolves with its answer. */
  async ask(command: Command): Promise<Answer> {
    const answered = once(this.worker, "message");
    this.worker.postMessage(command);
    const [answer] = (await answered) as [Answer];
    return answer;
  }

  /** Attaches the worker to a ticket's lease. */
  async attach(ticket: MemTicket): Promise<void> {
    expect(await this.ask({ do: "attach", ticket })).toMatchObject({ code: null });
  }

  /** Sends a command that blocks the worker; returns once it is inside, with the promise of its answer. */
  async enter(
    command: "hammer" | "hold" | "block",
  ): Promise<{ flags: Int32Array<SharedArrayBuffer>; answer: Promise<Answer> }> {
    const flags = new Int32Array(new SharedArrayBuffer(16));
    const answer = this.ask({ do: command, flags });
    // A worker that is terminated inside answers nothing.
    answer.catch(() => {});
    const waiting = Atomics.waitAsync(flags, INSIDE, 0, 10_000);
    if (waiting.async) expect(await waiting.value).not.toBe("timed-out");
    return { flags, answer };
  }

  /** Ends the worker, wherever it is; resolves once its thread has exited. */
  async end(): Promise<void> {
    await this.worker.terminate();
  }
}

/** Lets loop turns pass until `isDone`, ticking the fabric at the same moment of its clock; fails after 10,000 ms. */
export async function tickUntil(fabric: Fabric, isDone: () => boolean): Promise<void> {
  const startMs = performance.now();
  for (;;) {
    fabric.tick(fabric.nowMs());
    if (isDone()) return;
    if (performance.now() - startMs > 10_000) throw new Error("waited 10,000 ms in vain");
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** True once no ended lease's bytes wait any more. */
export const isQuiet = (fabric: Fabric) => (): boolean => {
  const { quarantinedBytes, fencedBytes } = fabric.stats().memory;
  return quarantinedBytes + fencedBytes === 0;
};
