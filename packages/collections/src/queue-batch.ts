/** Many values at once: until the first that cannot go, or the end of the lease. */
import { invalidArgument, type LeaseRegion, type MemLease } from "@selvage/fabric";
import { ManyConsumer, ManyProducer } from "./many-ring.ts";
import { damaged, readRing, type RingShape } from "./ring-layout.ts";
import { endBatch, type PopSide, type PushSide, type ValuePort } from "./value-port.ts";

/** Pushes `values` in order until there is no room, and publishes them. Returns how many. Throws for the first only. */
export function pushAll<T>(
  port: ValuePort<T>,
  side: PushSide,
  lease: MemLease,
  values: readonly T[],
): number {
  if (!Array.isArray(values)) throw invalidArgument("values", "an array", values);
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
  if (!Number.isInteger(max) || max < 0)
    throw invalidArgument("max", "a whole number from 0 up", max);
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

/** Publishes; the header and the positions must be what they were made. @throws FabricError `CORRUPT_RECORD`. */
export function assertRing(
  region: LeaseRegion,
  { kind, capacity, stride }: RingShape,
  sides: readonly (PushSide | PopSide | undefined)[],
): void {
  const found = readRing(region);
  if (found.kind !== kind || found.capacity !== capacity || found.stride !== stride)
    throw damaged("it says that it is another");
  for (const side of sides)
    if (side !== undefined && !(side instanceof ManyProducer || side instanceof ManyConsumer))
      side.assertWhole();
}
