/** What ends a run from outside its stages: cancelling it, losing its lease, a watcher that throws. The first one counts. */

/** One run's. */
export class Halt {
  readonly #listeners = new Set<() => void>();
  #cause: { readonly reason: unknown } | undefined;

  get isHalted(): boolean {
    return this.#cause !== undefined;
  }

  /** Why; undefined while it is not. */
  get reason(): unknown {
    return this.#cause?.reason;
  }

  halt(reason: unknown): void {
    if (this.#cause !== undefined) return;
    this.#cause = { reason };
    for (const listener of [...this.#listeners]) listener();
  }

  /** @throws its reason. */
  check(): void {
    if (this.#cause !== undefined) throw this.#cause.reason;
  }

  /** Calls `listener` once, when it is halted; the returned function cancels that. */
  onHalt(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** As `work`; rejects with the reason as soon as it is halted, though `work` may go on. */
  async race<T>(work: Promise<T>): Promise<T> {
    // Nobody listens to work that is left behind.
    work.catch(() => {});
    this.check();
    const { promise, reject } = Promise.withResolvers<never>();
    const cancel = this.onHalt(() => reject(this.reason));
    try {
      return await Promise.race([work, promise]);
    } finally {
      cancel();
    }
  }
}
