/** Says that a worker is alive whenever its event loop turns: enough where nothing blocks the loop for long. */
import type { QueueCore } from "./queue-core.ts";
import type { ClaimKeeper, Keeping } from "./queue-options.ts";
import type { JobStore } from "./job-store.ts";

/** A keeper on the worker's own loop. */
export function loopKeeper(core: QueueCore): (store: JobStore, keeping: Keeping) => ClaimKeeper {
  return (_store, { worker, beatMs, onLost }) => {
    let isStopped = false;
    let said: Promise<void> = Promise.resolve();
    const beat = async (): Promise<void> => {
      try {
        const isKnown = await core.committer.write(({ tx, nowMs }) => tx.beat(worker, nowMs));
        if (!isKnown && !isStopped) onLost();
      } catch {
        // The next beat tells; a store that is gone for longer than the TTL gives the worker up.
      }
    };
    let cancel: (() => void) | undefined;
    return {
      stamp: () => {},
      begin() {
        cancel = core.ports.timer.every(beatMs, () => {
          said = beat();
        });
      },
      async stop() {
        isStopped = true;
        cancel?.();
        await said;
      },
    };
  };
}
