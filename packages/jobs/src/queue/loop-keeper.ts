/** Says that a worker is alive whenever its event loop turns: enough where nothing blocks the loop for long. */
import type { QueueCore } from "./queue-core.ts";
import type { ClaimKeeper, Keeping } from "./queue-options.ts";
import type { JobStore } from "./job-store.ts";

/** A keeper on the worker's own loop. */
function loopKeeper(core: QueueCore): (store: JobStore, keeping: Keeping) => ClaimKeeper {
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
        // Stopped before: another one was ready sooner than the store knew the worker.
        if (isStopped) return;
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

/**
 * The host's keeper, or the loop's where the host has none. One that takes its time to start costs nobody a wait: until it is ready
 * the loop keeps the claims as well.
 */
export function startKeeper(core: QueueCore, keeping: Keeping): ClaimKeeper {
  const { store, ports } = core;
  const keeper = ports.keep?.(store, keeping);
  if (keeper === undefined) return loopKeeper(core)(store, keeping);
  const { ready } = keeper;
  if (ready === undefined) return keeper;
  const meanwhile = loopKeeper(core)(store, keeping);
  // One that never will be leaves it to the loop.
  void ready.then(
    () => meanwhile.stop(),
    () => {},
  );
  return {
    begin() {
      keeper.begin?.();
      meanwhile.begin?.();
    },
    stamp: () => keeper.stamp(),
    async stop() {
      await Promise.all([keeper.stop(), meanwhile.stop()]);
    },
  };
}
