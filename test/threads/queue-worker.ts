/** A thread at one end of a queue. It does what it is told, answers once, and may be ended anywhere on the way. */
import { parentPort } from "node:worker_threads";
import { toWire } from "@selvage/fabric";
import type { QueueTicket } from "@selvage/collections";
import { FabricQueue } from "@selvage/node";

/** How a producer or consumer spends its life until it is ended. */
export type Life = "between" | "claim" | "wrap" | "waits" | "holds";

export type QueueCommand =
  | { readonly do: "produce" | "consume"; readonly queue: QueueTicket; readonly life: Life }
  | { readonly do: "hammer"; readonly queue: QueueTicket; readonly side: "push" | "pop" }
  | {
      readonly do: "echo";
      readonly queue: QueueTicket;
      readonly back: QueueTicket;
      readonly count: number;
    }
  | { readonly do: "popWait"; readonly queue: QueueTicket; readonly timeoutMs: number }
  | {
      readonly do: "send";
      readonly queue: QueueTicket;
      readonly producer: number;
      readonly count: number;
    }
  | { readonly do: "receive"; readonly queue: QueueTicket };

/** Words that both sides see: inside the state to be ended in; values accepted, published, popped. */
export const INSIDE = 0;
export const ACCEPTED = 1;
export const PUBLISHED = 2;
export const POPPED = 3;
export const FLAGS = 4;

export interface QueueRequest {
  readonly command: QueueCommand;
  readonly flags: Int32Array<SharedArrayBuffer>;
  readonly unblockAfterMs: number;
}

export interface QueueAnswer {
  readonly value: unknown;
  readonly code: string | null;
}

/** A value of 8 to `stride` bytes, all of which say which it is. */
export function valueOf(id: number, stride: number): Uint8Array {
  const bytes = new Uint8Array(8 + (id % (stride - 7))).fill(id);
  new DataView(bytes.buffer).setInt32(0, id);
  return bytes;
}

/** Which value bytes are; -1 for bytes that nobody pushed. */
export function idOf(bytes: Uint8Array, stride: number): number {
  if (bytes.length < 8) return -1;
  const id = new DataView(bytes.buffer, bytes.byteOffset).getInt32(0);
  const whole = valueOf(id, stride);
  return whole.length === bytes.length && whole.every((byte, at) => byte === bytes[at]) ? id : -1;
}

function produce(queue: FabricQueue, life: Life, flags: Int32Array<SharedArrayBuffer>): void {
  const { stride } = queue;
  for (let id = 0; ; id++) {
    const value = valueOf(id, stride);
    if (life === "claim" && id === 5) {
      queue.flush();
      Atomics.store(flags, PUBLISHED, id);
      let claimed = queue.claim();
      while (claimed === undefined) claimed = queue.claim();
      Atomics.store(flags, INSIDE, 1);
      for (let turn = 0; ; turn++) claimed.fill(turn);
    }
    while (!queue.push(value)) queue.flush();
    Atomics.store(flags, ACCEPTED, id + 1);
    if (life === "waits" || id % 5 === 4) {
      queue.flush();
      Atomics.store(flags, PUBLISHED, id + 1);
    }
    // At the wrap: the slots of the first lap are used up, and the next ones are pushed without a pause.
    if (life !== "claim" && id >= (life === "wrap" ? queue.capacity : 0))
      Atomics.store(flags, INSIDE, 1);
    if (life === "waits") Atomics.wait(flags, FLAGS - 1, 0, id === 0 ? 0 : 5);
  }
}

function consume(queue: FabricQueue, life: Life, flags: Int32Array<SharedArrayBuffer>): void {
  for (let count = 0; ;) {
    if (life === "holds" && count === 3) {
      while (queue.peek() === undefined);
      Atomics.store(flags, INSIDE, 1);
      for (;;) Atomics.wait(flags, INSIDE, 1, 10);
    }
    const value = life === "waits" ? queue.popWait(1_000) : queue.pop();
    if (value === undefined) continue;
    Atomics.store(flags, POPPED, ++count);
    if (life !== "holds") Atomics.store(flags, INSIDE, 1);
  }
}

function hammer(
  queue: FabricQueue,
  side: "push" | "pop",
  flags: Int32Array<SharedArrayBuffer>,
): number {
  const value = new Uint8Array(queue.stride).fill(0xee);
  for (let done = 0; ; done++) {
    Atomics.store(flags, INSIDE, 1);
    try {
      if (side === "push") {
        if (done % 3 === 0) queue.pushBatch([value, value]);
        else if (done % 3 === 1) queue.push(value);
        else if (queue.claim()?.fill(0xee) !== undefined) queue.commit();
      } else if (done % 2 === 0) queue.popInto(value);
      else queue.popBatch(3);
    } catch (thrown) {
      Atomics.store(flags, ACCEPTED, done);
      throw thrown;
    }
  }
}

function obey({ command, flags, unblockAfterMs }: QueueRequest): unknown {
  const attach = (ticket: QueueTicket): FabricQueue =>
    FabricQueue.attach(ticket, undefined, { unblockAfterMs });
  const queue = attach(command.queue);
  switch (command.do) {
    case "produce":
      return produce(queue, command.life, flags);
    case "consume":
      return consume(queue, command.life, flags);
    case "hammer":
      return hammer(queue, command.side, flags);
    case "echo": {
      const back = attach(command.back);
      Atomics.store(flags, INSIDE, 1);
      for (let turn = 0; turn < command.count; turn++) {
        const value = queue.popWait(20_000);
        if (value === undefined || !back.pushWait(value, 20_000)) return turn;
      }
      return command.count;
    }
    case "popWait": {
      Atomics.store(flags, INSIDE, 1);
      using leaving = queue;
      return leaving.popWait(command.timeoutMs)?.[0];
    }
    case "send": {
      const ids = Array.from({ length: command.count }, (_, index) => index * 2 + command.producer);
      const values = ids.map((id) => valueOf(id, queue.stride));
      for (let at = 0; at < values.length;)
        if (at % 3 === 0) at += queue.pushBatch(values.slice(at, at + 20));
        else if (!queue.pushWait(values[at++] as Uint8Array, 20_000)) return at;
      return command.count;
    }
    case "receive": {
      const got: number[] = [];
      for (;;) {
        const values = queue.popBatch(7);
        for (const value of values) got.push(idOf(value, queue.stride));
        if (values.length > 0) continue;
        const value = queue.popWait(20_000);
        if (value === undefined) return got;
        got.push(idOf(value, queue.stride));
      }
    }
  }
}

parentPort?.on("message", (request: QueueRequest) => {
  let answer: QueueAnswer;
  try {
    answer = { value: obey(request), code: null };
  } catch (thrown) {
    answer = { value: toWire(thrown).message, code: toWire(thrown).code ?? "untyped" };
  }
  parentPort?.postMessage(answer);
});
