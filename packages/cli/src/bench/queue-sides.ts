/**
 * Both ends of what `selvage bench queue` compares: messages of one size from one thread to another, at most so many on the
 * way. Each message carries its number, and the receiver adds them up: so that nothing is measured that is not delivered.
 */
import { receiveMessageOnPort, type MessagePort } from "node:worker_threads";
import type { FabricQueue } from "@selvage/node";

/** What is compared. */
export type Subject = "FabricQueue" | "postMessage";

/** Sends, or receives, so many messages. A receiver gives the sum of their numbers. */
export type Side = (messages: number) => number;

/** Looks before a thread goes to sleep, and how long it sleeps unless woken: as `FabricQueue` does. */
const spins = 200;
const sleepMs = 20;

/** Messages that were received and posted, in shared words: what `postMessage` lacks to be bounded. */
const received = 0;
const posted = 1;

function numbered(size: number): { readonly bytes: Uint8Array; readonly view: DataView } {
  const bytes = new Uint8Array(size);
  return { bytes, view: new DataView(bytes.buffer) };
}

function until(words: Int32Array, word: number, test: () => boolean): void {
  for (let spin = 0; spin < spins; spin++) if (test()) return;
  for (;;) {
    const seen = Atomics.load(words, word);
    if (test()) return;
    Atomics.wait(words, word, seen, sleepMs);
  }
}

/** Pushes into the queue; waits for room. */
export function queueSender(queue: FabricQueue): Side {
  const { bytes, view } = numbered(queue.stride);
  return (messages) => {
    for (let number = 0; number < messages; number++) {
      view.setUint32(0, number, true);
      if (!queue.push(bytes)) queue.pushWait(bytes);
    }
    queue.flush();
    return 0;
  };
}

/** Pops from the queue into bytes of its own; waits for values. */
export function queueReceiver(queue: FabricQueue): Side {
  const { bytes, view } = numbered(queue.stride);
  return (messages) => {
    let sum = 0;
    for (let seen = 0; seen < messages; seen++) {
      while (queue.popInto(bytes) < 0) queue.waitForItem();
      sum += view.getUint32(0, true);
    }
    return sum;
  };
}

/** Posts each message by clone; waits while `capacity` are on the way. */
export function portSender(
  port: MessagePort,
  words: Int32Array,
  size: number,
  capacity: number,
): Side {
  const { bytes, view } = numbered(size);
  return (messages) => {
    for (let number = 0; number < messages; number++) {
      const hasRoom = (): boolean =>
        ((Atomics.load(words, posted) - Atomics.load(words, received)) | 0) < capacity;
      if (!hasRoom()) until(words, received, hasRoom);
      view.setUint32(0, number, true);
      port.postMessage(bytes);
      Atomics.add(words, posted, 1);
      Atomics.notify(words, posted);
    }
    return 0;
  };
}

/** Takes messages from the port without turning its event loop: the fastest way there is. */
export function portReceiver(port: MessagePort, words: Int32Array): Side {
  return (messages) => {
    let sum = 0;
    for (let seen = 0; seen < messages; seen++) {
      let message: Uint8Array | undefined;
      const hasCome = (): boolean => {
        message = receiveMessageOnPort(port)?.message as Uint8Array | undefined;
        return message !== undefined;
      };
      if (!hasCome()) until(words, posted, hasCome);
      const { buffer, byteOffset } = message as unknown as Uint8Array;
      sum += new DataView(buffer, byteOffset).getUint32(0, true);
      Atomics.add(words, received, 1);
      Atomics.notify(words, received);
    }
    return sum;
  };
}
