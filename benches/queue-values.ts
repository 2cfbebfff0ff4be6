/** The queue suite with values instead of bytes: what a codec adds, against what `postMessage` does with objects. */
import {
  columnsCodec,
  jsonCodec,
  msgpackCodec,
  recordCodec,
  systemText,
  Fabric,
  FabricQueue,
  type Codec,
  type Columns,
  type QueueTicket,
} from "selvage";
import { MessageChannel, receiveMessageOnPort, type MessagePort } from "node:worker_threads";
import { until } from "./queue-messages.ts";
import { Sink, type Wire, type Workload } from "./queue-workload.ts";

/** One message: its number, some figures, a text that makes it as long as was asked for. */
interface Order {
  readonly id: number;
  readonly price: number;
  readonly amount: number;
  readonly text: string;
}

const FIELD_BYTES = 24;
const TEXT_MAX = 32_768;

/** A text that makes a message about so long. */
export const textOf = (size: number): string =>
  "x".repeat(Math.max(1, Math.min(TEXT_MAX, size - FIELD_BYTES)));

/** One kind of values. */
export interface Kind {
  readonly codec: (size: number) => Codec<unknown>;
  readonly make: (id: number, text: string) => unknown;
  readonly idOf: (value: unknown) => number;
}

const orders = {
  make: (id: number, text: string): Order => ({ id, price: id * 0.25, amount: id & 7, text }),
  idOf: (value: unknown): number => (value as Order).id,
};

const kinds: Readonly<Record<string, Kind>> = {
  json: { ...orders, codec: () => jsonCodec(systemText) },
  msgpack: { ...orders, codec: () => msgpackCodec() },
  record: {
    ...orders,
    codec: (size) =>
      recordCodec({
        id: "int32",
        amount: "int32",
        price: "float64",
        text: { text: textOf(size).length },
      }) as Codec<unknown>,
  },
  columns: {
    make: (id, text): Columns => {
      const rows = Math.max(1, Math.floor(text.length / 12));
      return { id: new Int32Array(rows).fill(id), price: new Float64Array(rows) };
    },
    idOf: (value) => (value as { id: Int32Array }).id[0] as number,
    codec: () => columnsCodec,
  },
};

/** The codecs that can be asked for. */
export const codecNames: readonly string[] = ["raw", ...Object.keys(kinds)];

let fabric: Fabric | undefined;
const queues = new Map<unknown, FabricQueue<unknown>>();

/** The kind of values of a codec. */
export function kindOf(codec: string): Kind {
  return kinds[codec] as Kind;
}

/** This thread's handle on the queue of a wire. */
export function valueQueueOf({ handle, size }: Wire, kind: Kind): FabricQueue<unknown> {
  return queues.get(handle) ?? FabricQueue.attach(handle as QueueTicket, kind.codec(size));
}

/** Ours, with a codec. */
export function selvageValues(name: string, kindName: string): Workload {
  const kind = kindOf(kindName);
  const join = (wire: Wire): FabricQueue<unknown> => valueQueueOf(wire, kind);
  return {
    name,
    open(size, capacity) {
      fabric ??= Fabric.open({ memoryBytes: 2 ** 28, blocks: 0 });
      const codec = kind.codec(size);
      const stride = codec.encode(kind.make(2 ** 30, textOf(size))).length + 16;
      const lease = fabric
        .mem()
        .minBytes(FabricQueue.bytesFor(capacity, stride))
        .leaseSecs(3_600)
        .acquire();
      const queue = new FabricQueue(lease, capacity, stride, codec);
      const handle = queue.ticket();
      queues.set(handle, queue);
      return { workload: name, size, capacity, handle };
    },
    close: ({ handle }) => void queues.get(handle)?.lease.release(),
    sender(wire) {
      const queue = join(wire);
      const text = textOf(wire.size);
      let sent = 0;
      return (messages) => {
        for (const end = sent + messages; sent < end; sent++) {
          const value = kind.make(sent, text);
          if (!queue.push(value)) queue.pushWait(value);
        }
        queue.flush();
      };
    },
    receiver(wire) {
      const queue = join(wire);
      const sink = new Sink(8);
      return (messages) => {
        for (let seen = 0; seen < messages; seen++)
          sink.see(kind.idOf(queue.pop() ?? queue.popWait()));
        queue.flush();
        return sink.take();
      };
    },
  };
}

interface Ports {
  readonly port: MessagePort;
  far: MessagePort | undefined;
  readonly counts: SharedArrayBuffer;
}

/** `postMessage` of the same values, by structured clone. */
export function clonedValues(name: string, kindName: string): Workload {
  const kind = kindOf(kindName);
  return {
    name,
    open(size, capacity) {
      const { port1, port2 } = new MessageChannel();
      const handle: Ports = { port: port1, far: port2, counts: new SharedArrayBuffer(8) };
      return { workload: name, size, capacity, handle };
    },
    cross(wire) {
      const here = wire.handle as Ports;
      const port = here.far as MessagePort;
      here.far = undefined;
      return { wire: { ...wire, handle: { port, counts: here.counts } }, transfer: [port] };
    },
    close: ({ handle }) => (handle as Ports).port.close(),
    sender({ handle, size, capacity }) {
      const { port, counts } = handle as Ports;
      const words = new Int32Array(counts);
      const text = textOf(size);
      let sent = 0;
      const hasRoom = (): boolean => ((sent + 1 - Atomics.load(words, 0)) | 0) <= capacity;
      return (messages) => {
        for (const end = sent + messages; sent < end; sent++) {
          if (!hasRoom()) until(words, 0, hasRoom);
          port.postMessage(kind.make(sent, text));
          Atomics.add(words, 1, 1);
          Atomics.notify(words, 1);
        }
      };
    },
    receiver({ handle }) {
      const { far, port, counts } = handle as Ports;
      const words = new Int32Array(counts);
      const sink = new Sink(8);
      return (messages) => {
        const receive = (): boolean => {
          const received = receiveMessageOnPort(far ?? port);
          if (received === undefined) return false;
          sink.see(kind.idOf(received.message));
          Atomics.add(words, 0, 1);
          Atomics.notify(words, 0);
          return true;
        };
        for (let seen = 0; seen < messages; seen++) if (!receive()) until(words, 1, receive);
        return sink.take();
      };
    },
  };
}
