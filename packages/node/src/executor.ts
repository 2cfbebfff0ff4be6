/** `Executor` with this host's ports filled in. */
import { availableParallelism } from "node:os";
import {
  Executor as PureExecutor,
  type ExecutionPlan,
  type ExecutionResult,
  type ExecutorOptions,
  type ExecutorPorts,
} from "@selvage/batch";
import { Fabric } from "./fabric.ts";
import { systemRandom, systemTimer } from "./host-ports.ts";
import { taskCodecs } from "./task-codecs.ts";
import { openTaskThreads } from "./task-threads.ts";

const hostPorts: ExecutorPorts = {
  timer: systemTimer,
  random: systemRandom,
  abortSource: () => new AbortController(),
  // As many as `openTaskThreads` starts.
  threads: Math.max(2, availableParallelism()),
  openFabric: () => Fabric.open(),
  codecs: taskCodecs,
  openRunner: () => openTaskThreads(),
};

/** Runs plans on this machine. See `@selvage/batch`, whose `Executor` this is. */
export class Executor extends PureExecutor {
  /** Runs a plan once; ports given here take the host's place. */
  static override run(
    plan: ExecutionPlan,
    options: ExecutorOptions = {},
    ports: Partial<ExecutorPorts> = {},
  ): Promise<ExecutionResult> {
    return super.run(plan, options, { ...hostPorts, ...ports });
  }
}
