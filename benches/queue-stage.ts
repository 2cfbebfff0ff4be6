/**
 * One subject's own thread in the queue suite: it opens the wires, sends and times; its receiver runs here too, or on a
 * thread of its own. No subject shares an engine with another, whose types would make it slower.
 */
import { once } from "node:events";
import { parentPort, Worker, workerData, type MessagePort } from "node:worker_threads";
import type { Step } from "./harness.ts";
import { between } from "./queue-messages.ts";
import { workloadOf } from "./queue-subjects.ts";
import type { Answer, Order } from "./queue-worker.ts";
import {
  verification,
  type Receive,
  type Send,
  type Wire,
  type Workload,
} from "./queue-workload.ts";

/** What a stage is told, in this order; each call is answered by one message. */
export type Call =
  | {
      readonly call: "enter";
      readonly size: number;
      readonly capacity: number;
      readonly threads: 1 | 2;
    }
  | { readonly call: "verify" | "leave" }
  | { readonly call: "turn"; readonly messages: number }
  | { readonly call: "roundTrips"; readonly count: number };

/** The subject at one size, ready to take turns. */
interface Entrant {
  readonly turn: (messages: number) => Promise<Step>;
  readonly roundTripsUs: ((count: number) => Promise<readonly number[]>) | undefined;
  readonly verify: () => Promise<void>;
  readonly close: () => Promise<void>;
}

/** Both ends on this thread: a burst is sent, then received. */
function enterAlone(workload: Workload, size: number, capacity: number): Entrant {
  const wire = workload.open(size, capacity, 1);
  const send = workload.sender(wire);
  const receive = workload.receiver(wire);
  const burst = Math.max(1, Math.min(64, capacity >> 1));
  const turn = async (messages: number): Promise<Step> => {
    let sum = 0;
    const begin = process.hrtime.bigint();
    for (let left = messages; left > 0; left -= burst) {
      const count = Math.min(burst, left);
      const sent = send(count);
      if (sent !== undefined) await sent;
      const seen = receive(count);
      sum += typeof seen === "number" ? seen : await seen;
    }
    return stepOf(begin, process.hrtime.bigint(), messages, sum);
  };
  const verify = async (): Promise<void> => {
    verification.isOn = true;
    await turn(Math.max(2, burst));
    verification.isOn = false;
  };
  return {
    turn,
    verify,
    roundTripsUs: undefined,
    close: async () => workload.close?.(wire),
  };
}

// What the messages' numbers came to differs from turn to turn; that they came in order, the receiver has seen.
function stepOf(beginNs: bigint, endNs: bigint, messages: number, sum: number): Step {
  if (!Number.isFinite(sum)) throw new Error("nothing was received");
  return { ns: Number(endNs - beginNs), ops: messages, checksum: 0 };
}

/** The sender here, the receiver on the other thread. */
class OtherThread {
  readonly #worker = new Worker(new URL("./queue-worker.ts", import.meta.url), { stdin: true });
  #pairs = 0;

  constructor() {
    if (this.#worker.stdin !== null) between.out = this.#worker.stdin;
  }

  async enter(workload: Workload, size: number, capacity: number): Promise<Entrant> {
    const there = workload.open(size, capacity, 2);
    const back = workload.isOneWay === true ? undefined : workload.open(size, capacity, 2);
    const pair = this.#pairs++;
    const to = crossing(workload, there);
    const from = back && crossing(workload, back);
    const transfer = [...to.transfer, ...(from?.transfer ?? [])];
    await this.#tell(
      { order: "join", pair, there: to.wire, ...(from && { back: from.wire }) },
      transfer,
    );
    const send = workload.sender(there);
    const receive = back && workload.receiver(back);
    const turn = (messages: number): Promise<Step> => this.#turn(pair, send, messages);
    return {
      turn,
      verify: async () => {
        await this.#tell({ order: "verify", isOn: true });
        await turn(Math.max(2, capacity));
        await this.#tell({ order: "verify", isOn: false });
      },
      roundTripsUs: receive && ((count) => this.#roundTrips(pair, send, receive, count)),
      close: async () => {
        await this.#tell({ order: "leave", pair });
        for (const wire of [there, back]) if (wire) workload.close?.(wire);
      },
    };
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }

  async #turn(pair: number, send: Send, messages: number): Promise<Step> {
    await this.#tell({ order: "receive", pair, messages });
    const done = this.#answer();
    const begin = process.hrtime.bigint();
    const sent = send(messages);
    if (sent !== undefined) await sent;
    const { sum, endNs } = (await done) as Extract<Answer, { answer: "done" }>;
    return stepOf(begin, endNs, messages, sum);
  }

  async #roundTrips(
    pair: number,
    send: Send,
    receive: Receive,
    count: number,
  ): Promise<readonly number[]> {
    await this.#tell({ order: "echo", pair, messages: count });
    const done = this.#answer();
    const times = new Float64Array(count);
    for (let trip = 0; trip < count; trip++) {
      const begin = process.hrtime.bigint();
      const sent = send(1);
      if (sent !== undefined) await sent;
      const seen = receive(1);
      if (typeof seen !== "number") await seen;
      times[trip] = Number(process.hrtime.bigint() - begin) / 1_000;
    }
    await done;
    return [...times];
  }

  #tell(order: Order, transfer: readonly MessagePort[] = []): Promise<Answer> {
    const answer = this.#answer();
    this.#worker.postMessage(order, [...transfer]);
    return answer;
  }

  async #answer(): Promise<Answer> {
    const [answer] = (await once(this.#worker, "message")) as [Answer];
    return answer;
  }
}

function crossing(
  workload: Workload,
  wire: Wire,
): { readonly wire: Wire; readonly transfer: readonly MessagePort[] } {
  return workload.cross?.(wire) ?? { wire, transfer: [] };
}

let entrant: Entrant | undefined;
let other: OtherThread | undefined;

async function obey(call: Call): Promise<Step | readonly number[] | undefined> {
  const workload = workloadOf(workerData as string);
  if (call.call === "enter") {
    const { size, capacity, threads } = call;
    if (threads === 1) entrant = enterAlone(workload, size, capacity);
    else entrant = await (other ??= new OtherThread()).enter(workload, size, capacity);
    return undefined;
  }
  if (entrant === undefined) throw new Error(`told to ${call.call} before it entered`);
  switch (call.call) {
    case "verify":
      await entrant.verify();
      return undefined;
    case "turn":
      return entrant.turn(call.messages);
    case "roundTrips":
      return entrant.roundTripsUs?.(call.count);
    case "leave":
      await entrant.close();
      entrant = undefined;
      return undefined;
  }
}

parentPort?.on("message", (call: Call) => {
  void obey(call).then((value) => parentPort?.postMessage(value));
});
