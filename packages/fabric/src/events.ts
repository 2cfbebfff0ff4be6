/** What happens to leases, told to whoever subscribed, on the owner's thread, in order. */
import { InvariantError } from "./errors.ts";

/** What can happen. `renewed` is told when the owner notices: a renewal by another thread is seen at the old deadline. */
export type FabricEventType =
  | "granted"
  | "renewed"
  | "warned"
  | "expired"
  | "released"
  | "revoked"
  | "reclaimed"
  | "fenced"
  | "unfenced";

/** One event. Times are milliseconds since the Unix epoch. */
export interface FabricEvent {
  readonly type: FabricEventType;
  readonly kind: "mem" | "block";
  readonly leaseId: string;
  readonly generation: number;
  readonly tenant: string;
  readonly label: string;
  readonly bytes: number;
  readonly atMs: number;
  /** The lease's deadline as of this event. */
  readonly expiresAtMs: number;
}

/** Ends a subscription. Idempotent. */
export type Unsubscribe = () => void;

/** The subscribers of one fabric. A subscriber that throws is told nothing more, and its error is rethrown once. */
export class FabricEvents {
  readonly #listeners = new Set<(event: FabricEvent) => void>();

  /** False while nobody listens: then no event is even made. */
  get isHeard(): boolean {
    return this.#listeners.size > 0;
  }

  subscribe(listener: (event: FabricEvent) => void): Unsubscribe {
    // Wrapped, so that one function can subscribe twice and end each subscription by itself.
    const own = (event: FabricEvent): void => listener(event);
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  emit(event: FabricEvent): void {
    const failed: unknown[] = [];
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (thrown) {
        // The fabric's books are closed before it tells of them: one bad listener must not stop a teardown half-way.
        this.#listeners.delete(listener);
        failed.push(thrown);
      }
    }
    if (failed.length > 0) this.#failures.push(...failed);
  }

  /** What subscribers threw since the last call, as one error. The fabric throws it at the end of its tick. */
  takeFailure(): Error | undefined {
    if (this.#failures.length === 0) return undefined;
    const [cause] = this.#failures.splice(0);
    return new InvariantError("a fabric event subscriber threw", { cause });
  }
  readonly #failures: unknown[] = [];
}
