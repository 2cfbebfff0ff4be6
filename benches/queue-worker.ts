/** The other thread of the queue suite: receives what it is told to, or echoes it. */
import { parentPort } from "node:worker_threads";
import { between } from "./queue-messages.ts";
import { workloadOf } from "./queue-subjects.ts";
import { verification, type Receive, type Send, type Wire } from "./queue-workload.ts";

/** What the worker is told. Wires are known by the number of their pair. */
export type Order =
  | { readonly order: "join"; readonly pair: number; readonly there: Wire; readonly back?: Wire }
  | { readonly order: "verify"; readonly isOn: boolean }
  | { readonly order: "receive"; readonly pair: number; readonly messages: number }
  | { readonly order: "echo"; readonly pair: number; readonly messages: number }
  | { readonly order: "leave"; readonly pair: number };

/** What it answers: it is about to, or it has done. */
export type Answer =
  | { readonly answer: "ready" }
  | { readonly answer: "done"; readonly sum: number; readonly endNs: bigint };

interface Pair {
  readonly receive: Receive;
  readonly send: Send | undefined;
}

const pairs = new Map<number, Pair>();

async function obey(order: Order): Promise<void> {
  switch (order.order) {
    case "join": {
      const { pair, there, back } = order;
      const receive = workloadOf(there.workload).receiver(there);
      pairs.set(pair, { receive, send: back && workloadOf(back.workload).sender(back) });
      break;
    }
    case "verify":
      verification.isOn = order.isOn;
      break;
    case "leave":
      pairs.delete(order.pair);
      break;
    case "receive":
    case "echo":
      answer({ answer: "ready" });
      answer(await work(pairs.get(order.pair) as Pair, order));
      return;
  }
  answer({ answer: "ready" });
}

async function work({ receive, send }: Pair, order: Order & { messages: number }): Promise<Answer> {
  let sum = 0;
  if (order.order === "receive") sum = await receive(order.messages);
  else
    for (let turn = 0; turn < order.messages; turn++) {
      const seen = receive(1);
      sum += typeof seen === "number" ? seen : await seen;
      const sent = send?.(1);
      if (sent !== undefined) await sent;
    }
  return { answer: "done", sum, endNs: process.hrtime.bigint() };
}

function answer(value: Answer): void {
  parentPort?.postMessage(value);
}

between.in = process.stdin;
parentPort?.on("message", (order: Order) => void obey(order));
