/** Fabrics whose time, timers and keeper are in the test's hands. */
import {
  bufferMemoryProvider,
  Fabric,
  type FabricOptions,
  type FabricPorts,
} from "@selvage/fabric";
import { RenewalDesk } from "@selvage/leasekit";

/** Where the clocks of these fabrics start. */
export const START_MS = 1_700_000_000_000;

const small: FabricOptions = { memoryBytes: 1 << 16, blocks: 16, maxLeases: 64 };

function ports(nowMs: () => number): FabricPorts {
  let drawn = 1;
  return {
    clock: { nowMs },
    timer: { after: () => () => {}, every: () => () => {} },
    // Ids repeat from run to run, so that the jitter drawn from them does.
    random: {
      fill(words) {
        for (let index = 0; index < words.length; index++) {
          drawn = (Math.imul(drawn, 1_664_525) + 1_013_904_223) | 0;
          words[index] = drawn;
        }
      },
    },
    memory: bufferMemoryProvider,
  };
}

/** A fabric that is ticked by hand, from {@link START_MS} on. */
export function openManual(options: FabricOptions = {}): Fabric {
  return Fabric.open(
    { ...small, ...options, tick: "manual" },
    ports(() => START_MS),
  );
}

/** A fabric beside a keeper that works when told to. */
export interface Kept {
  readonly fabric: Fabric;
  /** Moves real time on, and nothing else: what a busy event loop sees. */
  readonly pass: (ms: number) => void;
  /** What the keeper's thread does once a period: sweeps, then advances the clock. Returns the time. */
  readonly keep: () => number;
  /** How many desks the keeper was given. */
  readonly desks: readonly RenewalDesk[];
}

export function openKept(options: FabricOptions = {}): Kept {
  let nowMs = START_MS;
  const desks: RenewalDesk[] = [];
  const keeper = {
    ready: Promise.resolve(),
    watch(desk: SharedArrayBuffer) {
      desks.push(new RenewalDesk(desk));
      return () => void desks.pop();
    },
    isGone: false,
    stop() {},
  };
  const fabric = Fabric.open(
    { ...small, ...options, tick: "auto" },
    { ...ports(() => nowMs), keeper: () => keeper },
  );
  return {
    fabric,
    desks,
    pass: (ms) => void (nowMs += ms),
    keep() {
      for (const desk of desks) desk.sweep(fabric.control, nowMs);
      fabric.control.advanceClock(nowMs);
      return nowMs;
    },
  };
}
