/** The rings of the queue suite: ours, ringbuf.js, and what people write first. All wait alike: they spin, then sleep. */
import { Fabric, FabricQueue, type QueueOptions, type QueueTicket } from "selvage";
import { RingBuffer } from "ringbuf.js";
import { Sink, Source, type Wire, type Workload } from "./queue-workload.ts";

/** Looks before a thread goes to sleep, and how long it sleeps unless rung: as `FabricQueue` does. */
const SPINS = 200;
const SLEEP_MS = 20;
/** Messages that ringbuf.js gets at a time where batches are compared: as many as `FabricQueue` publishes together. */
const BATCH = 16;

/** The waiting that the other rings leave to their users. Two words: somebody waits; rung so often. */
class Bell {
  readonly #words: Int32Array;
  readonly #at: number;

  constructor(words: Int32Array, at: number) {
    this.#words = words;
    this.#at = at;
  }

  ring(): void {
    if (Atomics.load(this.#words, this.#at) === 0) return;
    Atomics.store(this.#words, this.#at, 0);
    Atomics.add(this.#words, this.#at + 1, 1);
    Atomics.notify(this.#words, this.#at + 1);
  }

  until(test: () => boolean): void {
    for (let spins = 0; spins < SPINS; spins++) if (test()) return;
    for (;;) {
      Atomics.store(this.#words, this.#at, 1);
      const count = Atomics.load(this.#words, this.#at + 1);
      if (test()) return;
      Atomics.wait(this.#words, this.#at + 1, count, SLEEP_MS);
    }
  }
}

interface SharedRing {
  readonly ring: SharedArrayBuffer;
  readonly bells: SharedArrayBuffer;
}

function bellsOf({ bells }: SharedRing): { readonly items: Bell; readonly room: Bell } {
  const words = new Int32Array(bells);
  return { items: new Bell(words, 0), room: new Bell(words, 32) };
}

let fabric: Fabric | undefined;
const queues = new Map<unknown, FabricQueue>();

/** This thread's handle on the queue of a wire. */
export function queueOf({ handle }: Wire): FabricQueue {
  return queues.get(handle) ?? FabricQueue.attach(handle as QueueTicket);
}

/** Ours. */
export function selvage(name: string, options: QueueOptions): Workload {
  return {
    name,
    open(size, capacity) {
      fabric ??= Fabric.open({ memoryBytes: 2 ** 28, blocks: 0 });
      const bytes = FabricQueue.bytesFor(capacity, size, options);
      const lease = fabric.mem().minBytes(bytes).leaseSecs(3_600).acquire();
      const queue = new FabricQueue(lease, capacity, size, undefined, options);
      const handle = queue.ticket();
      queues.set(handle, queue);
      return { workload: name, size, capacity, handle };
    },
    close: ({ handle }) => void queues.get(handle)?.lease.release(),
    sender(wire) {
      const queue = queueOf(wire);
      const source = new Source(wire.size);
      return (messages) => {
        for (let sent = 0; sent < messages; sent++) {
          const message = source.next();
          if (!queue.push(message)) queue.pushWait(message);
        }
        queue.flush();
      };
    },
    receiver(wire) {
      const queue = queueOf(wire);
      const sink = new Sink(wire.size);
      return (messages) => {
        for (let seen = 0; seen < messages; seen++) {
          while (queue.popInto(sink.bytes) < 0) queue.waitForItem();
          sink.look();
        }
        queue.flush();
        return sink.take();
      };
    },
  };
}

/** `ringbuf.js`, a message at a time, or `BATCH` of them. Both ways it moves bytes, so a batch is just more of them. */
export function ringbuf(name: string, batch: boolean): Workload {
  return {
    name,
    open: (size, capacity) => ({
      workload: name,
      size,
      capacity,
      handle: {
        ring: RingBuffer.getStorageForCapacity(size * capacity, Uint8Array),
        bells: new SharedArrayBuffer(256),
      },
    }),
    sender({ handle, size, capacity }) {
      const shared = handle as SharedRing;
      const ring = new RingBuffer(shared.ring, Uint8Array);
      const { items, room } = bellsOf(shared);
      const source = new Source(size);
      const most = batch ? Math.max(1, Math.min(BATCH, capacity >> 2)) : 1;
      const packed = new Uint8Array(size * most);
      return (messages) => {
        for (let sent = 0; sent < messages;) {
          const count = Math.min(most, messages - sent);
          const bytes = count * size;
          if (ring.availableWrite() < bytes) room.until(() => ring.availableWrite() >= bytes);
          if (most === 1) ring.push(source.next());
          else {
            for (let at = 0; at < bytes; at += size) packed.set(source.next(), at);
            ring.push(packed, bytes);
          }
          items.ring();
          sent += count;
        }
      };
    },
    receiver({ handle, size, capacity }) {
      const shared = handle as SharedRing;
      const ring = new RingBuffer(shared.ring, Uint8Array);
      const { items, room } = bellsOf(shared);
      const sink = new Sink(size);
      const most = batch ? Math.max(1, Math.min(BATCH, capacity >> 2)) : 1;
      const packed = new Uint8Array(size * most);
      return (messages) => {
        for (let seen = 0; seen < messages;) {
          if (ring.availableRead() < size) items.until(() => ring.availableRead() >= size);
          const count = Math.min(most, messages - seen, Math.floor(ring.availableRead() / size));
          if (most === 1) {
            ring.pop(sink.bytes);
            sink.look();
          } else {
            ring.pop(packed, count * size);
            for (let at = 0; at < count; at++) {
              sink.bytes.set(packed.subarray(at * size, (at + 1) * size));
              sink.look();
            }
          }
          room.ring();
          seen += count;
        }
        return sink.take();
      };
    },
  };
}

/** What people write first: two indices side by side, every access atomic, a `subarray` for each message. */
export function naive(name: string): Workload {
  return {
    name,
    open: (size, capacity) => ({
      workload: name,
      size,
      capacity,
      handle: {
        ring: new SharedArrayBuffer(8 + size * (capacity + 1)),
        bells: new SharedArrayBuffer(256),
      },
    }),
    sender({ handle, size, capacity }) {
      const shared = handle as SharedRing;
      const indices = new Int32Array(shared.ring, 0, 2);
      const data = new Uint8Array(shared.ring, 8);
      const { items, room } = bellsOf(shared);
      const source = new Source(size);
      const push = (message: Uint8Array): boolean => {
        const tail = Atomics.load(indices, 0);
        const next = (tail + 1) % (capacity + 1);
        if (next === Atomics.load(indices, 1)) return false;
        data.subarray(tail * size, (tail + 1) * size).set(message);
        Atomics.store(indices, 0, next);
        items.ring();
        return true;
      };
      return (messages) => {
        for (let sent = 0; sent < messages; sent++) {
          const message = source.next();
          if (!push(message)) room.until(() => push(message));
        }
      };
    },
    receiver({ handle, size, capacity }) {
      const shared = handle as SharedRing;
      const indices = new Int32Array(shared.ring, 0, 2);
      const data = new Uint8Array(shared.ring, 8);
      const { items, room } = bellsOf(shared);
      const sink = new Sink(size);
      const pop = (): boolean => {
        const head = Atomics.load(indices, 1);
        if (head === Atomics.load(indices, 0)) return false;
        sink.bytes.set(data.subarray(head * size, (head + 1) * size));
        Atomics.store(indices, 1, (head + 1) % (capacity + 1));
        room.ring();
        return true;
      };
      return (messages) => {
        for (let seen = 0; seen < messages; seen++) {
          if (!pop()) items.until(pop);
          sink.look();
        }
        return sink.take();
      };
    },
  };
}
