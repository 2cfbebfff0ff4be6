/**
 * Promises of a run that were rejected and that nobody waits for: a program's mistake, which in production ends its process.
 * They are told to their own run. What is rejected elsewhere in the process goes where it would have gone.
 */
import { AsyncLocalStorage } from "node:async_hooks";

type Fail = (reason: unknown) => void;

// Follows a run through its promises: the runtime tells of a rejection in the context of the promise.
const currentRun = new AsyncLocalStorage<Fail>();
let runs = 0;
let others: NodeJS.UnhandledRejectionListener[] = [];

function tell(reason: unknown, promise: Promise<unknown>): void {
  const fail = currentRun.getStore();
  if (fail !== undefined) fail(reason);
  else if (others.length === 0) throw reason;
  else for (const other of others) other(reason, promise);
}

/** Runs `run`; `fail` is called with every rejection in it that nobody waits for. Runs may overlap. */
export async function catchingRejections<T>(fail: Fail, run: () => Promise<T>): Promise<T> {
  if (runs++ === 0) {
    others = process.listeners("unhandledRejection");
    process.removeAllListeners("unhandledRejection");
    process.on("unhandledRejection", tell);
  }
  try {
    return await currentRun.run(fail, run);
  } finally {
    if (--runs === 0) {
      process.off("unhandledRejection", tell);
      for (const other of others.splice(0)) process.on("unhandledRejection", other);
    }
  }
}
