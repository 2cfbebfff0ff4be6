/** What programs send between threads today: messages by clone, packed or by transfer, and node streams. */
import { once } from "node:events";
import { PassThrough, type Readable, type Writable } from "node:stream";
import { MessageChannel, receiveMessageOnPort, type MessagePort } from "node:worker_threads";
import { Sink, Source, type Wire, type Workload } from "./queue-workload.ts";

/** Messages in one packed post: as many as `FabricQueue` publishes together. */
const BATCH = 16;
const SPINS = 200;
const SLEEP_MS = 20;

interface Ports {
  readonly port: MessagePort;
  /** The other end, until it has crossed to the other thread. */
  far: MessagePort | undefined;
  /** Word 0: messages received, so that a sender stays within its capacity; word 1: posted, to sleep on. */
  readonly counts: SharedArrayBuffer;
}

/** Looks until `test` holds; between looks it sleeps until `word` has changed. */
export function until(words: Int32Array, word: number, test: () => boolean): void {
  for (let spins = 0; spins < SPINS; spins++) if (test()) return;
  for (;;) {
    const seen = Atomics.load(words, word);
    if (test()) return;
    Atomics.wait(words, word, seen, SLEEP_MS);
  }
}

type Posting = "clone" | "packed" | "transfer";

/** `postMessage`: one message by clone, 16 packed into one by clone, or a fresh ArrayBuffer by transfer. */
export function messages(name: string, posting: Posting): Workload {
  const mostOf = ({ capacity }: Wire): number =>
    posting === "packed" ? Math.max(1, Math.min(BATCH, capacity >> 2)) : 1;
  return {
    name,
    open(size, capacity) {
      const { port1, port2 } = new MessageChannel();
      const counts = new SharedArrayBuffer(8);
      return { workload: name, size, capacity, handle: { port: port1, far: port2, counts } };
    },
    cross(wire) {
      const here = wire.handle as Ports;
      const port = here.far as MessagePort;
      here.far = undefined;
      return { wire: { ...wire, handle: { port, counts: here.counts } }, transfer: [port] };
    },
    close: ({ handle }) => (handle as Ports).port.close(),
    sender(wire) {
      const { port, counts } = wire.handle as Ports;
      const words = new Int32Array(counts);
      const source = new Source(wire.size);
      const most = mostOf(wire);
      let posted = 0;
      return (count) => {
        for (const end = posted + count; posted < end;) {
          const next = Math.min(most, end - posted);
          const hasRoom = (): boolean =>
            ((posted + next - Atomics.load(words, 0)) | 0) <= wire.capacity;
          if (!hasRoom()) until(words, 0, hasRoom);
          post(port, source, next, posting);
          posted += next;
          Atomics.add(words, 1, 1);
          Atomics.notify(words, 1);
        }
      };
    },
    receiver(wire) {
      const { far, counts } = wire.handle as Ports;
      const port = far ?? (wire.handle as Ports).port;
      const words = new Int32Array(counts);
      const sink = new Sink(wire.size);
      const most = mostOf(wire);
      // Sees the messages of one post; how many, or 0 when none has come.
      const receive = (): number => {
        const received = receiveMessageOnPort(port);
        if (received === undefined) return 0;
        const message = received.message as Uint8Array;
        for (let at = 0; at < message.length; at += wire.size)
          sink.lookAt(most === 1 ? message : message.subarray(at, at + wire.size));
        const seen = message.length / wire.size;
        Atomics.add(words, 0, seen);
        Atomics.notify(words, 0);
        return seen;
      };
      return (count) => {
        for (let left = count; left > 0;) {
          let seen = receive();
          if (seen === 0) until(words, 1, () => (seen = receive()) > 0);
          left -= seen;
        }
        return sink.take();
      };
    },
  };
}

function post(port: MessagePort, source: Source, count: number, posting: Posting): void {
  if (posting === "clone") port.postMessage(source.next());
  else if (posting === "transfer") {
    const fresh = source.next().slice();
    port.postMessage(fresh, [fresh.buffer]);
  } else {
    const packed = new Uint8Array(count * source.bytes.length);
    for (let at = 0; at < packed.length; at += source.bytes.length) packed.set(source.next(), at);
    port.postMessage(packed);
  }
}

/** The ends of the stream between the two threads: `worker.stdin` there, `process.stdin` here. */
export const between: { out?: Writable; in?: Readable } = {};

const within = new Map<unknown, PassThrough>();

/** Node streams: on one thread a `PassThrough`, between two the worker's stdin, which is the one that Node has. */
export function stream(name: string): Workload {
  return {
    name,
    isOneWay: true,
    open(size, capacity, threads) {
      const handle = { threads };
      if (threads === 1)
        within.set(handle, new PassThrough({ highWaterMark: Math.min(size * capacity, 2 ** 20) }));
      return { workload: name, size, capacity, handle };
    },
    close: ({ handle }) => void within.get(handle)?.destroy(),
    sender({ handle, size }) {
      const out = within.get(handle) ?? (between.out as Writable);
      const source = new Source(size);
      return async (count) => {
        for (let sent = 0; sent < count; sent++)
          // A copy: the stream keeps what it is given until it has passed it on.
          if (!out.write(source.next().slice())) await once(out, "drain");
      };
    },
    receiver({ handle, size }) {
      const input = within.get(handle) ?? (between.in as Readable);
      const sink = new Sink(size);
      let rest: Uint8Array = new Uint8Array(0);
      return async (count) => {
        for (let left = count; left > 0;) {
          const chunk = input.read() as Uint8Array | null;
          if (chunk === null) {
            await once(input, "readable");
            continue;
          }
          rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
          let at = 0;
          for (; at + size <= rest.length && left > 0; at += size, left--)
            sink.lookAt(rest.subarray(at, at + size));
          rest = rest.subarray(at);
        }
        return sink.take();
      };
    },
  };
}
