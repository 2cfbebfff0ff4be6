/** The queue suite's work over an edge that stays healthy: what its numbers, acknowledgements and window cost. */
import { RelocatableQueueEdge, type FabricQueue } from "selvage";
import { queueOf, selvage } from "./queue-rings.ts";
import { kindOf, selvageValues, textOf, valueQueueOf } from "./queue-values.ts";
import { Sink, Source, type Workload } from "./queue-workload.ts";

const refuse = (): Promise<never> =>
  Promise.reject(new Error("a healthy edge has no reason to move"));

function edgeOn<T>(queue: FabricQueue<T>, isProducer: boolean): RelocatableQueueEdge<T> {
  const generation = 1;
  const handoff = isProducer
    ? { generation, publish: refuse }
    : { generation, poll: () => Promise.resolve(undefined) };
  const locator = RelocatableQueueEdge.locatorOf(queue);
  return new RelocatableQueueEdge(queue, locator, handoff, { acquire: refuse, resolve: refuse });
}

/** Bytes over an edge. */
export function edge(name: string): Workload {
  return {
    ...selvage(name, {}),
    sender(wire) {
      const out = edgeOn(queueOf(wire), true);
      const source = new Source(wire.size);
      return (messages) => {
        for (let sent = 0; sent < messages; sent++) {
          const message = source.next();
          while (!out.push(message)) out.waitForRoom();
        }
        out.flush();
      };
    },
    receiver(wire) {
      const into = edgeOn(queueOf(wire), false);
      const sink = new Sink(wire.size);
      return (messages) => {
        for (let seen = 0; seen < messages; seen++) {
          while (into.popInto(sink.bytes) < 0) into.waitForItem();
          sink.look();
        }
        into.flush();
        return sink.take();
      };
    },
  };
}

/** Values over an edge. */
export function edgeValues(name: string, codec: string): Workload {
  const kind = kindOf(codec);
  return {
    ...selvageValues(name, codec),
    sender(wire) {
      const out = edgeOn(valueQueueOf(wire, kind), true);
      const text = textOf(wire.size);
      let sent = 0;
      return (messages) => {
        for (const end = sent + messages; sent < end; sent++) {
          const value = kind.make(sent, text);
          while (!out.push(value)) out.waitForRoom();
        }
        out.flush();
      };
    },
    receiver(wire) {
      const into = edgeOn(valueQueueOf(wire, kind), false);
      const sink = new Sink(8);
      const next = (): unknown => {
        for (;;) {
          const value = into.pop();
          if (value !== undefined) return value;
          into.waitForItem();
        }
      };
      return (messages) => {
        for (let seen = 0; seen < messages; seen++) sink.see(kind.idOf(next()));
        into.flush();
        return sink.take();
      };
    },
  };
}
