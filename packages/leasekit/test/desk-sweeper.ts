/** A thread that sweeps a desk as fast as it can, until told to stop. */
import { parentPort, workerData } from "node:worker_threads";
import { bufferMemoryProvider, ControlPlane, type ControlHandle } from "@selvage/fabric";
import { RenewalDesk } from "@selvage/leasekit";

export interface SweeperData {
  readonly memory: SharedArrayBuffer;
  readonly handle: ControlHandle;
  readonly desk: SharedArrayBuffer;
  /** Word 0: 1 ends it. Word 1: sweeps so far. */
  readonly signals: SharedArrayBuffer;
}

function sweepUntilStopped({ memory, handle, desk: buffer, signals }: SweeperData): void {
  const words = new Int32Array(signals);
  const arena = bufferMemoryProvider.attach(memory, ControlPlane.bytesFor(handle.slots));
  const control = new ControlPlane(arena, handle);
  const desk = new RenewalDesk(buffer);
  parentPort?.postMessage("sweeping");
  while (Atomics.load(words, 0) === 0) {
    desk.sweep(control, control.nowMs());
    Atomics.add(words, 1, 1);
  }
}

sweepUntilStopped(workerData as SweeperData);
