/** The receiving thread of `selvage bench queue`. */
import { parentPort, workerData, type MessagePort } from "node:worker_threads";
import type { QueueTicket } from "@selvage/collections";
import { FabricQueue } from "@selvage/node";
import { portReceiver, queueReceiver, type Side, type Subject } from "./queue-sides.ts";

/** What it is given. */
export interface ReceiverData {
  readonly ticket: QueueTicket;
  readonly port: MessagePort;
  readonly words: Int32Array;
}

/** What it is told to receive. */
export interface Order {
  readonly subject: Subject;
  readonly messages: number;
}

/** What it tells: it is about to, or it has. */
export type Answer =
  | { readonly answer: "ready" }
  | { readonly answer: "done"; readonly sum: number; readonly endNs: bigint };

const { ticket, port, words } = workerData as ReceiverData;
const sides: Readonly<Record<Subject, Side>> = {
  FabricQueue: queueReceiver(FabricQueue.attach(ticket)),
  postMessage: portReceiver(port, words),
};
const tell = (answer: Answer): void => parentPort?.postMessage(answer);

parentPort?.on("message", ({ subject, messages }: Order) => {
  tell({ answer: "ready" });
  const sum = sides[subject](messages);
  tell({ answer: "done", sum, endNs: process.hrtime.bigint() });
});
