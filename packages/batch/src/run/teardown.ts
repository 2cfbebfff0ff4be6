/** The end of a run: until its leases have ended and their bytes are back. */
import type { Timer } from "@selvage/fabric";
import type { RunLedger } from "./run-ledger.ts";

/** How often a run looks whether its leases are gone, and renews where no keeper does, in milliseconds. */
export const lookEveryMs = 5;

/** What a teardown is told. */
export interface TeardownOptions {
  /**
   * Past any deadline that can still come: what is open then is somebody else's to end (kept alive by another manager,
   * or a thread that never answers).
   */
  readonly boundMs: number;
  /** Whether what can be given back is given back now. */
  readonly isHurried: () => boolean;
  /** Whether that goes for outputs that were to be kept, too. */
  readonly keepsNone: () => boolean;
  /** How long one that is in a hurry still waits. */
  readonly goMs: number;
  readonly timer: Timer;
}

/** Waits for the leases of one run. */
export class Teardown {
  #wake: (() => void) | undefined;

  /** Waits until no lease of the run stands, or the bound is over. */
  async untilGone(ledger: RunLedger, options: TeardownOptions): Promise<void> {
    const { boundMs, isHurried, keepsNone, goMs, timer } = options;
    // Counted in looks, not by the fabric's clock: where that is ticked by hand, it may stand still.
    let goingMs = 0;
    for (let waitedMs = 0; ledger.isOpen && waitedMs < boundMs; waitedMs += lookEveryMs) {
      if (isHurried()) {
        // What a body that was given up still has in its hands is told as active.
        ledger.releaseAll(keepsNone());
        if (goingMs >= goMs) return;
        goingMs += lookEveryMs;
      }
      await this.#wait(timer);
    }
  }

  /** Has it look at once. */
  wake(): void {
    this.#wake?.();
  }

  #wait(timer: Timer): Promise<void> {
    return new Promise((resolve) => {
      const stop = timer.after(lookEveryMs, () => this.wake());
      this.#wake = () => {
        this.#wake = undefined;
        stop();
        resolve();
      };
    });
  }
}
