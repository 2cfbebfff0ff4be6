/**
 * A thread that holds tickets of another thread's fabric and does with them what the test says. It answers every
 * command with one message; `silent` commands block it first, so that nothing reaches it and it announces nothing.
 */
import { parentPort } from "node:worker_threads";
import { isFabricError, toWire, type MemLease, type MemTicket } from "@selvage/fabric";
import { attachments } from "@selvage/node";

/** What the test asks. `flags` are words that both sides see without a message. */
export type Command =
  | { readonly do: "attach"; readonly ticket: MemTicket }
  | { readonly do: "read" | "write" | "renew" | "release" | "state"; readonly value?: number }
  | { readonly do: "hammer" | "hold" | "block"; readonly flags: Int32Array<SharedArrayBuffer> }
  | { readonly do: "attachAndRead"; readonly ticket: MemTicket };

/** How a command went. */
export interface Answer {
  readonly value: unknown;
  readonly code: string | null;
}

/** Words of `flags`: the worker is inside; the test lets it go; how many operations passed; what it saw last. */
export const INSIDE = 0;
export const GO = 1;
export const PASSED = 2;

let lease: MemLease | undefined;

function held(): MemLease {
  if (lease === undefined) throw new Error("no lease is attached");
  return lease;
}

/** Reads and writes until the lease ends; every byte read must be the pattern that the lease was filled with. */
function hammer(flags: Int32Array<SharedArrayBuffer>): number {
  const own = held();
  const buffer = new Uint8Array(own.bytes);
  const [pattern = 0] = own.read(0, 1);
  buffer.fill(pattern);
  let passed = 0;
  Atomics.store(flags, INSIDE, 1);
  Atomics.notify(flags, INSIDE);
  for (;;) {
    try {
      own.write(0, buffer);
      own.readInto(0, buffer);
    } catch (thrown) {
      if (isFabricError(thrown)) return passed;
      throw thrown;
    }
    if (buffer.some((byte) => byte !== pattern)) return -1;
    Atomics.store(flags, PASSED, ++passed);
  }
}

/** Stays inside a `with` until told to go, writing all the while. */
function hold(flags: Int32Array<SharedArrayBuffer>): void {
  held().with(
    (view) => {
      Atomics.store(flags, INSIDE, 1);
      Atomics.notify(flags, INSIDE);
      for (let turn = 0; Atomics.load(flags, GO) === 0; turn++) view.fill(turn & 0x7f);
    },
    { write: true },
  );
}

/** A long synchronous computation that touches no lease. */
function block(flags: Int32Array<SharedArrayBuffer>): void {
  Atomics.store(flags, INSIDE, 1);
  Atomics.notify(flags, INSIDE);
  Atomics.wait(flags, GO, 0);
}

function obey(command: Command): unknown {
  switch (command.do) {
    case "attach":
      lease = attachments().attachMem(command.ticket);
      return lease.bytes;
    case "attachAndRead":
      lease = attachments().attachMem(command.ticket);
      return lease.read(0, 1)[0];
    case "read":
      return held().read(0, held().bytes).toString();
    case "write":
      return held().write(0, new Uint8Array(held().bytes).fill(command.value ?? 0xee));
    case "renew":
      return held().renew(command.value ?? 1_000);
    case "release":
      return held().release();
    case "state":
      return held().state;
    case "hammer":
      return hammer(command.flags);
    case "hold":
      return hold(command.flags);
    case "block":
      return block(command.flags);
  }
}

parentPort?.on("message", (command: Command) => {
  let answer: Answer;
  try {
    answer = { value: obey(command), code: null };
  } catch (thrown) {
    answer = { value: toWire(thrown).message, code: toWire(thrown).code ?? "untyped" };
  }
  parentPort?.postMessage(answer);
});
