/**
 * What the keeper's thread runs. It takes no part in the arenas, only in the control memory: it raises the clock every
 * period, and renews what the renewal desks ask for while their holders make progress.
 */
import { workerData, type MessagePort } from "node:worker_threads";
import { ControlPlane, type ControlHandle, type MemoryHandle } from "@selvage/fabric";
import { RenewalDesk } from "@selvage/leasekit";
import { nodeMemoryProvider } from "./memory-provider.ts";
import { SystemClock } from "./system-clock.ts";

/** What the keeper's thread starts with. */
export interface KeeperData {
  readonly control: ControlHandle;
  readonly memory: MemoryHandle;
  /** What the owner's clock believes (`SystemClock`): a wall clock that was set since must not part the two. */
  readonly offsetMs: number;
  /** Renewal desks come in here. */
  readonly port: MessagePort;
}

/** A desk comes, or goes. */
export type DeskMessage =
  | { readonly type: "watch"; readonly id: number; readonly desk: SharedArrayBuffer }
  | { readonly type: "unwatch"; readonly id: number };

/** How often the clock advances, in milliseconds. */
const periodMs = 10;

/** Index of the stop word in the control memory, which the fabric sets when it closes. */
const { stopAt } = ControlPlane;

function run({ control: handle, memory, offsetMs, port }: KeeperData): void {
  const arena = nodeMemoryProvider.attach(memory, ControlPlane.bytesFor(handle.slots));
  const control = new ControlPlane(arena, handle);
  const clock = new SystemClock(undefined, offsetMs);
  const desks = new Map<number, RenewalDesk>();
  const step = (): void => {
    if (control.words.load(stopAt) !== 0) return stop();
    const nowMs = clock.nowMs();
    // Renewals come before the clock: at a deadline that both could decide, a holder at work keeps its lease.
    for (const desk of desks.values()) desk.sweep(control, nowMs);
    control.advanceClock(nowMs);
  };
  // This thread's own loop, on which nothing else runs. Not a futex: while the keeper slept in one, a trap inside V8 was
  // seen once, in this thread, among some thousand keepers. Its cause is not proven; it has not been seen since.
  const timer = setInterval(step, periodMs);
  const stop = (): void => {
    clearInterval(timer);
    port.close();
  };
  port.on("message", (message: DeskMessage) => take(desks, message));
  port.on("close", stop);
  step();
  port.postMessage("ready");
}

function take(desks: Map<number, RenewalDesk>, message: DeskMessage): void {
  if (message.type === "watch") desks.set(message.id, new RenewalDesk(message.desk));
  else desks.delete(message.id);
}

run(workerData as KeeperData);
