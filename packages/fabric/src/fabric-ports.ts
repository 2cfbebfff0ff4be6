/** What a fabric needs from its host. */
import type { Attachments, Threads } from "./attachments.ts";
import type { ControlPlane } from "./control-plane.ts";
import type {
  BlockDevice,
  Clock,
  Disk,
  DiskRequest,
  MemoryProvider,
  Random,
  Timer,
} from "./ports.ts";

/** The host, as a fabric needs it. */
export interface FabricPorts {
  readonly clock: Clock;
  readonly timer: Timer;
  readonly random: Random;
  readonly memory: MemoryProvider;
  /** Other threads; without it, tickets serve this thread only. */
  readonly threads?: Threads;
  /** What this thread has attached to, if it keeps that beyond this fabric. */
  readonly attachments?: Attachments;
  /** A thread beside this one that advances the clock and renews; without it, only `tick` does. */
  readonly keeper?: (control: ControlPlane) => Keeper;
  /** Where blocks live. Default: in memory. */
  readonly blockDevice?: (numBlocks: number) => BlockDevice;
  /** Opens or makes a block file; without it, `blockFile` is `UNSUPPORTED`. */
  readonly disk?: (request: DiskRequest) => Disk;
}

/** A thread that advances a fabric's clock and renews leases beside the work. */
export interface Keeper {
  /** Resolves once it is at work, or gone. Never rejects. */
  readonly ready: Promise<void>;
  /** True once it has died: then ticks do its work. */
  readonly isGone: boolean;
  /** Sweeps a renewal desk (`@selvage/leasekit`) as well, until the returned function is called. */
  watch(desk: SharedArrayBuffer): () => void;
  stop(): void;
}
