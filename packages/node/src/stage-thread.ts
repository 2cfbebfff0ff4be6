/** A stage's thread, and the one that takes over when it has died. */
import { Worker } from "node:worker_threads";
import { FabricError, fromWire, type FabricErrorWire } from "@selvage/fabric";
import { retryDelayMs, type RetryPolicy } from "@selvage/leasekit";
import type { EdgeEvent } from "@selvage/pipeline";
import type { EdgeHost } from "./edge-port.ts";
import type { StageLink } from "./stage-link.ts";
import {
  CALLS,
  LEAVINGS,
  type FromStage,
  type RingShape,
  type StageWorkerData,
} from "./stage-messages.ts";
import type { StageThreadsEvent, ThreadStage, ThreadStageResult } from "./stage-options.ts";
import { workerFlags } from "./worker-flags.ts";

/** What a stage's threads stand in. */
export interface StageSurroundings {
  readonly shape: RingShape;
  readonly policy: RetryPolicy;
  readonly input: StageLink;
  readonly output: StageLink;
  /** Moves whenever an item has reached the sink. */
  readonly progress: () => number;
  readonly tell: (event: StageThreadsEvent) => void;
  /** The run cannot go on. */
  readonly fail: (error: unknown) => void;
}

/** One stage. */
export class StageThread {
  readonly stage: ThreadStage;
  readonly #around: StageSurroundings;
  readonly #counts = new Float64Array(new SharedArrayBuffer(16));
  #worker: Worker | undefined;
  // Whether it has loaded its module.
  #isReady = false;
  // Resolves when the thread has ended, and nothing that it asked for is done any more.
  #ended: Promise<void> = Promise.resolve();
  #restarts = 0;
  #deaths = 0;
  #progressAtDeath = -1;
  #isOver = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(stage: ThreadStage, around: StageSurroundings) {
    this.stage = stage;
    this.#around = around;
  }

  /** Starts a thread. */
  start(): void {
    const { input, output } = this.#around;
    const hosts = [input.host("consumer"), output.host("producer")] as const;
    let error: unknown;
    let worker: Worker;
    try {
      worker = this.#open(hosts);
    } catch (thrown) {
      this.#ended = this.#end(hosts, thrown);
      return;
    }
    this.#worker = worker;
    worker.on("error", (thrown) => (error = thrown));
    worker.on("message", (message: FromStage) => this.#hear(message));
    this.#ended = new Promise((resolve) => {
      worker.on("exit", (code) => {
        this.#worker = undefined;
        this.#isReady = false;
        resolve(this.#end(hosts, error ?? died(this.stage, code)));
      });
    });
  }

  /** Ends the thread as a crash would. False where there is none at work. */
  async terminate(): Promise<boolean> {
    const worker = this.#worker;
    if (worker === undefined || !this.#isReady) return false;
    await worker.terminate();
    return true;
  }

  /** Ends the thread for good. */
  async close(): Promise<void> {
    this.#isOver = true;
    clearTimeout(this.#timer);
    await this.#worker?.terminate();
    await this.#ended;
  }

  /** What became of it. */
  result(): ThreadStageResult {
    return {
      name: this.stage.name,
      restarts: this.#restarts,
      calls: this.#counts[CALLS] ?? 0,
      leftOut: this.#counts[LEAVINGS] ?? 0,
    };
  }

  #open([input, output]: readonly [EdgeHost, EdgeHost]): Worker {
    const { name, module } = this.stage;
    const workerData: StageWorkerData = {
      stage: name,
      module: module.href,
      restarts: this.#restarts,
      shape: this.#around.shape,
      input: input.port,
      output: output.port,
      counts: this.#counts,
    };
    return new Worker(new URL("./stage-worker.ts", import.meta.url), {
      workerData,
      transferList: [input.port, output.port],
      name: `selvage-stage-${name}`,
      ...workerFlags(),
    });
  }

  #hear(message: FromStage): void {
    const { input, output, tell, fail } = this.#around;
    switch (message.type) {
      case "ready":
        this.#isReady = true;
        return tell({ type: "ready", stage: this.stage.name, restarts: this.#restarts });
      case "failed":
        return fail(ofStage(this.stage.name, fromWire(message.error)));
      case "edge": {
        const { side } = message;
        const event = whole(message.event);
        const link = side === "producer" ? output : input;
        link.hear(side, event);
        tell({ type: "edge", edge: link.name, side, event });
      }
    }
  }

  async #end(hosts: readonly EdgeHost[], error: unknown): Promise<void> {
    // Nothing that it has asked for is done once its successor begins.
    await Promise.all(hosts.map((host) => host.close()));
    this.#around.output.releaseRings();
    if (this.#isOver) return;
    const { policy, progress, tell, fail } = this.#around;
    const { name } = this.stage;
    const at = progress();
    this.#deaths = at === this.#progressAtDeath ? this.#deaths + 1 : 1;
    this.#progressAtDeath = at;
    const delayMs = retryDelayMs(policy, this.#deaths, error, 1);
    tell({ type: "died", stage: name, error, delayMs });
    if (delayMs === undefined) return fail(gaveUp(name, this.#deaths, error));
    this.#timer = setTimeout(() => {
      this.#restarts++;
      this.start();
    }, delayMs);
  }
}

// Errors in events come as they cross.
function whole(event: EdgeEvent): EdgeEvent {
  return "error" in event ? { ...event, error: fromWire(event.error as FabricErrorWire) } : event;
}

function ofStage(stage: string, error: Error): FabricError {
  const known = error instanceof FabricError ? error : undefined;
  const details = { ...known?.details, stage };
  // A module that cannot be loaded is the caller's to put right.
  const code = known?.code ?? "INVALID_ARGUMENT";
  return new FabricError(code, `Stage "${stage}" cannot go on: ${error.message}`, details, {
    cause: error,
  });
}

function died({ name }: ThreadStage, code: number): FabricError {
  return new FabricError("DISCONNECTED", `The thread of stage "${name}" has ended`, {
    stage: name,
    exitCode: code,
  });
}

function gaveUp(stage: string, deaths: number, cause: unknown): FabricError {
  return new FabricError(
    "DISCONNECTED",
    `Stage "${stage}" is given up: its thread has ended ${deaths} times, and no item came through meanwhile`,
    { stage, deaths },
    { cause },
  );
}
