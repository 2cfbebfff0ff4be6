/** `DeadLetters` with this host's clock filled in. */
import {
  DeadLetters as PureDeadLetters,
  MemoryDeadLetterStore,
  type DeadLetterStore,
} from "@selvage/collections";
import type { Clock } from "@selvage/fabric";
import { SystemClock } from "./system-clock.ts";

const hostPorts: { readonly clock: Clock } = { clock: new SystemClock() };

/** Dead letters. See `@selvage/collections`, whose `DeadLetters` this is. */
export class DeadLetters extends PureDeadLetters {
  /** Keeps letters in `store`, in memory unless one is given; ports given here take the host's place. */
  constructor(
    store: DeadLetterStore = new MemoryDeadLetterStore(),
    ports: { readonly clock: Clock } = hostPorts,
  ) {
    super(store, ports);
  }
}
