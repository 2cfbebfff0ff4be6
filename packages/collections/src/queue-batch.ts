/** Many values at once: until the first that cannot go, or the end of the lease. */
import { invalidArgument, type MemLease } from "@selvage/fabric";
import { ManyConsumer, ManyProducer } from "./many-ring.ts";
import { endBatch, type PopSide, type PushSide, type ValuePort } from "./value-port.ts";

/** Before a handle takes an end: a call that is refused takes none. @throws FabricError `INVALID_ARGUMENT`. */
export function checkBatch(values: readonly unknown[]): void {
  if (!Array.isArray(values)) throw invalidArgument("values", "an array", values);
}

/** As `checkBatch`, of how many to pop. */
export function checkMax(max: number): void {
  if (!Number.isInteger(max) || max < 0)
    throw invalidArgument("max", "a whole number from 0 up", max);
}

/** Pushes `values` in order until there is no room, and publishes them. Returns how many. Throws for the first only. */
export function pushAll<T>(
  port: ValuePort<T>,
  side: PushSide,
  lease: MemLease,
  values: readonly T[],
): number {
  let done = 0;
  try {
    while (done < values.length) {
      // 0: what is in the way may have been left behind by a thread that died: `push` finds out.
      if (side instanceof ManyProducer) side.prepare(values.length - done);
      if (!port.push(side, values[done] as T)) break;
      done++;
    }
  } catch (error) {
    // The check that failed has announced: the bytes may be another's already.
    if (!lease.isLive) throw error;
    endBatch(side);
    if (done === 0) throw error;
    return done;
  }
  endBatch(side);
  return done;
}

/** Pops up to `max` values, oldest first, and gives their room back. Throws for the first only. */
export function popSome<T>(port: ValuePort<T>, side: PopSide, lease: MemLease, max: number): T[] {
  const values: T[] = [];
  while (values.length < max) {
    let value: T | undefined;
    try {
      if (side instanceof ManyConsumer && side.prepare(max - values.length) === 0) break;
      value = port.pop(side, values.length > 0);
    } catch (error) {
      if (values.length === 0) throw error;
      // As in `pushAll`.
      if (!lease.isLive) return values;
      break;
    }
    if (value === undefined) break;
    values.push(value);
  }
  side.publish();
  return values;
}
