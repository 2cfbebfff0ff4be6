/** `FabricQueue` with this thread's way to memory filled in. */
import {
  FabricQueue as PureFabricQueue,
  findQueue,
  type AttachOptions,
  type QueueTicket,
} from "@selvage/collections";
import type { Codec, MemLease } from "@selvage/fabric";
import { Fabric } from "./fabric.ts";

/** A queue in a memory lease. See `@selvage/collections`, whose `FabricQueue` this is. */
export class FabricQueue<T = Uint8Array> extends PureFabricQueue<T> {
  /** Joins the queue that a ticket leads to, or that a lease holds, on any thread of this process. */
  static override attach<T = Uint8Array>(
    place: QueueTicket | MemLease,
    codec?: Codec<T>,
    options: AttachOptions = {},
  ): FabricQueue<T> {
    const { lease, capacity, stride, settings } = findQueue(place, {
      attachMem: (ticket) => Fabric.attachMem(ticket),
      ...options,
    });
    return new FabricQueue<T>(lease, capacity, stride, codec, settings);
  }
}
