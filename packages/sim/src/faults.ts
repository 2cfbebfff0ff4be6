/**
 * Fault plans: what goes wrong in a run, as plain data. A plan can be written by hand, drawn at random, shrunk, saved, and
 * run again.
 *
 * F1: a fault is anchored to a moment: the n-th time that something happens, and so many events later. So taking one fault
 * out of a plan does not move the others to where they mean nothing.
 */
import type { CutMode } from "./network.ts";
import type { ResumeOrder } from "./sim-node.ts";

/** When a fault comes: at a time, or once `on` has been recorded for the `nth` time and `plus` more events were taken. */
export type Moment =
  { readonly atMs: number } | { readonly on: string; readonly nth: number; readonly plus: number };

/** What can go wrong. Durations are virtual milliseconds. */
export type FaultBody =
  /** The process dies (`"memory"`), or the power fails (`"unsynced"`); it is started again after `forMs`. */
  | {
      readonly kind: "crash";
      readonly node: string;
      readonly loses: "memory" | "unsynced";
      readonly forMs: number;
    }
  /** The process stands still, as after SIGSTOP; what was due is then due at once. */
  | {
      readonly kind: "pause";
      readonly node: string;
      readonly forMs: number;
      readonly order: ResumeOrder;
    }
  /** The machine is suspended: as `pause`, and its monotonic clock does not count meanwhile. */
  | { readonly kind: "suspend"; readonly node: string; readonly forMs: number }
  /** One link is cut, in one direction. */
  | {
      readonly kind: "cut";
      readonly from: string;
      readonly to: string;
      readonly forMs: number;
      readonly mode: CutMode;
    }
  /** A node is cut off from all others: what it sends, what it would hear, or both. */
  | {
      readonly kind: "isolate";
      readonly node: string;
      readonly forMs: number;
      readonly direction: "in" | "out" | "both";
    }
  | { readonly kind: "loss"; readonly in1000: number; readonly forMs: number }
  | { readonly kind: "doubling"; readonly in1000: number; readonly forMs: number }
  /** Messages take up to `lateMs` longer, and so overtake each other. */
  | {
      readonly kind: "delay";
      readonly in1000: number;
      readonly lateMs: number;
      readonly forMs: number;
    }
  /** The wall clock is set. */
  | { readonly kind: "clockStep"; readonly node: string; readonly byMs: number }
  /** The monotonic clock runs fast or slow, in millionths. */
  | {
      readonly kind: "clockDrift";
      readonly node: string;
      readonly ppm: number;
      readonly forMs: number;
    }
  /** The monotonic clock stands still while the process goes on. */
  | { readonly kind: "clockFreeze"; readonly node: string; readonly forMs: number }
  | {
      readonly kind: "diskSlow";
      readonly node: string;
      readonly slowMs: number;
      readonly forMs: number;
    }
  | { readonly kind: "diskFull"; readonly node: string; readonly forMs: number }
  | { readonly kind: "shortIo"; readonly node: string; readonly forMs: number }
  /** The next `times` syncs, or reads and writes, fail. */
  | { readonly kind: "syncError"; readonly node: string; readonly times: number }
  | { readonly kind: "ioError"; readonly node: string; readonly times: number }
  /** Syncs lie: beyond what any store survives without a second copy elsewhere. */
  | { readonly kind: "syncLie"; readonly node: string; readonly forMs: number }
  | { readonly kind: "bitFlip"; readonly node: string }
  | { readonly kind: "misdirect"; readonly node: string };

/** One fault of a plan. */
export type Fault = FaultBody & { readonly at: Moment };

/** Their names. */
export type FaultKind = Fault["kind"];

/** All kinds, in the order of {@link FaultBody}. */
export const FAULT_KINDS: readonly FaultKind[] = Object.freeze([
  "crash",
  "pause",
  "suspend",
  "cut",
  "isolate",
  "loss",
  "doubling",
  "delay",
  "clockStep",
  "clockDrift",
  "clockFreeze",
  "diskSlow",
  "diskFull",
  "shortIo",
  "syncError",
  "ioError",
  "syncLie",
  "bitFlip",
  "misdirect",
]);

/**
 * What a program is asked to survive. Under the others only this holds: no wrong answer goes unnoticed. A plan that goes
 * beyond says nothing about recovery.
 */
export const SURVIVABLE: ReadonlySet<FaultKind> = new Set(
  FAULT_KINDS.filter((kind) => kind !== "syncLie" && kind !== "bitFlip" && kind !== "misdirect"),
);

/** Everything that goes wrong in a run. */
export type FaultPlan = readonly Fault[];
