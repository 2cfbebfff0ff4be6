/** `JobCoordinator` with this host's ports filled in. */
import { availableParallelism } from "node:os";
import { JobCoordinator as PureJobCoordinator, type JobPorts } from "@selvage/jobs";
import type { RetryPolicy } from "@selvage/leasekit";
import { Fabric } from "./fabric.ts";
import { systemRandom, systemTimer } from "./host-ports.ts";
import { SystemClock } from "./system-clock.ts";
import { openTaskThreads } from "./task-threads.ts";

const hostPorts: JobPorts = {
  clock: new SystemClock(),
  timer: systemTimer,
  random: systemRandom,
  parallelism: availableParallelism(),
  abortSource: () => new AbortController(),
  openFabric: (memoryBytes) => Fabric.open({ memoryBytes }),
  openRunner: (threads) => openTaskThreads({ threads }),
};

/**
 * Jobs on this machine. See `@selvage/jobs`, whose `JobCoordinator` this is.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { JobCoordinator, MemoryOutputStore } from "selvage";
 *
 * const chunks = [Uint8Array.of(1, 2), Uint8Array.of(3), Uint8Array.of(3)];
 * const sum = (bytes: Uint8Array) => Uint8Array.of(bytes.reduce((total, byte) => total + byte, 0));
 *
 * const { aggregate } = await new JobCoordinator({ retries: 2 }).run(
 *   chunks,
 *   new MemoryOutputStore(),
 *   sum, // or the URL of a module that default-exports it: then it runs on worker threads
 *   (outputs) => outputs.map(({ bytes }) => bytes[0]),
 * );
 * assert.deepEqual(aggregate, [3, 3, 3]); // equal chunks are chunks apart
 * ```
 */
export class JobCoordinator extends PureJobCoordinator {
  /** Ports given here take the host's place. */
  constructor(retryPolicy: number | Partial<RetryPolicy> = {}, ports: Partial<JobPorts> = {}) {
    super(retryPolicy, { ...hostPorts, ...ports });
  }
}
