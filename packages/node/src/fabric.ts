/** `Fabric` with this host's ports filled in. */
import {
  Attachments,
  Fabric as PureFabric,
  type Clock,
  type FabricOptions,
  type FabricPorts,
  type MemLease,
  type MemTicket,
} from "@selvage/fabric";
import { openDisk } from "./block-file.ts";
import { systemRandom, systemTimer } from "./host-ports.ts";
import { startKeeper } from "./keeper.ts";
import { nodeMemoryProvider } from "./memory-provider.ts";
import { SystemClock } from "./system-clock.ts";
import { systemThreads } from "./threads.ts";

/** Leases over memory and blocks, on this machine. See `@selvage/fabric`, whose `Fabric` this is. */
export class Fabric extends PureFabric {
  /**
   * Opens a fabric owned by this thread, with the system's clock, timers, randomness, memory and threads; ports given
   * here take their place.
   */
  static override open(options: FabricOptions = {}, ports: Partial<FabricPorts> = {}): Fabric {
    return new Fabric(options, { ...hostPorts(options), ...ports });
  }

  /** Reaches a lease of another thread's fabric, without a fabric of this thread's own. Errors as `attachMem`. */
  static attachMem(ticket: MemTicket): MemLease {
    return threadAttachments.attachMem(ticket);
  }
}

const clock = new SystemClock();

// A thread attaches to a fabric once, so its attachments are the thread's, not any fabric's.
const threadAttachments = new Attachments({
  clock,
  timer: systemTimer,
  random: systemRandom,
  memory: nodeMemoryProvider,
  threads: systemThreads,
});

/** This thread's attachments: the worker runner attaches tasks' tickets through them. */
export function attachments(): Attachments {
  return threadAttachments;
}

function hostPorts(options: FabricOptions): FabricPorts {
  return {
    // Options that are none are refused by the constructor, which comes next.
    clock: (options as FabricOptions | null)?.tick === "manual" ? stoppedClock() : clock,
    timer: systemTimer,
    random: systemRandom,
    memory: nodeMemoryProvider,
    threads: systemThreads,
    attachments: threadAttachments,
    disk: openDisk,
    keeper: (control) => startKeeper(control, clock.offsetMs),
  };
}

/** A clock that stands at the moment it was made: under `tick: "manual"` time is what `tick` says. */
function stoppedClock(): Clock {
  const startMs = clock.nowMs();
  return { nowMs: () => startMs };
}
