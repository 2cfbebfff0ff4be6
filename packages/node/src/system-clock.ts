/** Real time of this host, under the rules of `@selvage/fabric`'s `SystemClock`. */
// Imported, because the global of that name is a getter: it costs 15 ns a read.
import { performance } from "node:perf_hooks";
import { SystemClock as PureSystemClock, type TimeSource } from "@selvage/fabric";

// Each thread counts `performance.now()` from its own start; from there to the machine's count, all threads share.
const threadOriginMs = Number(process.hrtime.bigint()) / 1e6 - performance.now();

const hostTime: TimeSource = {
  monotonicMs: () => threadOriginMs + performance.now(),
  wallMs: () => Date.now(),
};

/** A clock of this process. */
export class SystemClock extends PureSystemClock {
  /** `offsetMs`: what another thread's clock believes, so that this one tells the same time whatever the wall says. */
  constructor(source: TimeSource = hostTime, offsetMs?: number) {
    super(source, offsetMs);
  }
}
