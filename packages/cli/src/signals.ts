/** Being told to end. */

/** Hears that the process is told to end. */
export interface EndListener extends Disposable {
  /** Aborted at the first SIGINT or SIGTERM, which is its reason. */
  readonly signal: AbortSignal;
}

/**
 * Listens for the first SIGINT or SIGTERM. A second one ends the process as if nobody had listened, so that a command
 * that hangs can still be stopped by hand. Disposing it stops listening.
 */
export function listenForEnd(): EndListener {
  const end = new AbortController();
  const stop = (): void => {
    for (const signal of listened) process.off(signal, hear);
  };
  const hear = (signal: NodeJS.Signals): void => {
    stop();
    end.abort(signal);
  };
  for (const signal of listened) process.on(signal, hear);
  return { signal: end.signal, [Symbol.dispose]: stop };
}

const listened: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM"];
