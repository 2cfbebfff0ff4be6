/** The threads of a worker, opened when the first of its tasks needs one. */
import { RenewalManager, type TaskRunner } from "@selvage/leasekit";
import type { Fabric } from "@selvage/fabric";
import type { ThreadParts } from "../chunks/chunk-attempt.ts";
import type { QueueCore } from "./queue-core.ts";

/** TTL of the leases by which arguments and results cross, in milliseconds. */
const ttlMs = 2_000;
/** Memory for what crosses, at least. */
const memoryBytesMin = 64 * 1024 * 1024;

interface Opened {
  readonly fabric: Fabric;
  readonly renewals: RenewalManager;
  readonly runner: TaskRunner;
}

/** Opens once, closes once. */
export class WorkerThreads {
  readonly #core: QueueCore;
  readonly #threads: number;
  #opening: Promise<Opened> | undefined;
  #epoch = 0;

  constructor(core: QueueCore, threads: number) {
    this.#core = core;
    this.#threads = threads;
  }

  /** What an attempt on a thread works with. @throws FabricError `CAPACITY_EXCEEDED`. */
  async parts(): Promise<ThreadParts> {
    this.#opening ??= this.#open();
    const opened = await this.#opening.catch((error: unknown) => {
      // The next attempt may have more luck.
      this.#opening = undefined;
      throw error;
    });
    this.#epoch++;
    return { ...opened, ttlMs, stallMs: this.#core.options.leaseMs, epoch: this.#epoch };
  }

  /** Ends the threads. */
  async close(): Promise<void> {
    const opened = await this.#opening?.catch(() => undefined);
    if (opened === undefined) return;
    const { fabric, renewals, runner } = opened;
    await runner.close();
    renewals[Symbol.dispose]();
    fabric[Symbol.dispose]();
  }

  async #open(): Promise<Opened> {
    const { ports, options } = this.#core;
    const memoryBytes = Math.max(memoryBytesMin, 2 * options.payloadBytesMax);
    const fabric = ports.openFabric(memoryBytes);
    const renewals = new RenewalManager(fabric);
    let runner: TaskRunner;
    try {
      runner = ports.openRunner(this.#threads);
    } catch (thrown) {
      fabric[Symbol.dispose]();
      throw thrown;
    }
    runner.warm(1);
    // Leases are kept by a thread beside this one: nothing starts before it is at work.
    await fabric.keeper()?.ready;
    return { fabric, renewals, runner };
  }
}
