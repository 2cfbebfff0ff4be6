/**
 * How the threads of one process hear of each other. A thread that attaches to a fabric sends the owner one end of a
 * message channel; the owner nudges it through that, and learns of its exit, however it came, by the channel's close.
 */
import {
  MessageChannel,
  postMessageToThread,
  threadId,
  type MessagePort,
} from "node:worker_threads";
import { setTimeout as delay } from "node:timers/promises";
import type { ThreadHost, Threads } from "@selvage/fabric";

/** How often an attached thread announces by itself: it moves its progress stamp while its loop turns. */
const announceEveryMs = 50;

/** The number of no thread. */
const nobody = -1;

/** Long enough for a turn of any loop that turns; how long, nothing depends on. */
const betweenTurnsMs = 5;

const introductionType = "selvage.introduction";

interface Introduction {
  readonly type: typeof introductionType;
  readonly fabricId: string;
  readonly nonce: number;
  readonly port: MessagePort;
}

type Listener = (introduction: Introduction) => void;

// One listener a thread on the process, however many fabrics it owns.
const hosts = new Map<string, Listener>();

function receive(message: unknown): void {
  if (typeof message !== "object" || message === null) return;
  const introduction = message as Introduction;
  if (introduction.type !== introductionType) return;
  const listener = hosts.get(introduction.fabricId);
  // A fabric that is closed already: its thread learns that by the port's close.
  if (listener === undefined) (introduction.port as MessagePort | undefined)?.close();
  else listener(introduction);
}

function listen(fabricId: string, listener: Listener): () => void {
  if (hosts.size === 0) process.on("workerMessage", receive);
  hosts.set(fabricId, listener);
  return () => {
    hosts.delete(fabricId);
    if (hosts.size === 0) process.off("workerMessage", receive);
  };
}

/**
 * Turns of the main thread's loop within which the introduction of a thread that lives has passed it: one for its port
 * to be registered there, one for what waits in that port; and two in hand.
 */
const introductionTurns = 4;

/**
 * Resolves after so many turns of the main thread's loop, and as many of this one's between them.
 *
 * Every message between threads goes through the main thread. When a thread ends, the main thread closes its port, and
 * drops what it had not taken from it: the introduction of a thread that was terminated in its first moments. The one
 * of a thread that lives was posted before the thread took its entry, and is taken within these turns.
 */
async function mainTurns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) {
    // There is no such thread: that it is the main thread itself that says.
    await postMessageToThread(nobody, null).catch(() => {});
    await delay(betweenTurnsMs, undefined, { ref: false });
  }
}

/** Threads of this process. */
export const systemThreads: Threads = {
  threadId,

  host(fabricId, onExit): ThreadHost {
    const ports = new Map<number, MessagePort>();
    const expected = new Set<number>();
    // Nudged and not heard from since: a thread that is silent for long finds one message, not one for every tick.
    const nudged = new Set<MessagePort>();
    let isClosed = false;
    const stop = listen(fabricId, ({ nonce, port }) => {
      ports.set(nonce, port);
      expected.delete(nonce);
      port.on("close", () => {
        ports.delete(nonce);
        nudged.delete(port);
        if (!isClosed) onExit(nonce);
      });
      // A port without a listener for messages does not tell of its close.
      port.on("message", () => void nudged.delete(port));
      port.unref();
    });
    return {
      nudge() {
        for (const port of ports.values()) {
          if (nudged.has(port)) continue;
          nudged.add(port);
          port.postMessage(null);
        }
      },
      expect(nonce) {
        if (ports.has(nonce) || expected.has(nonce)) return;
        expected.add(nonce);
        void mainTurns(introductionTurns).then(() => {
          // Either of the two was quicker.
          if (isClosed || !expected.delete(nonce)) return;
          onExit(nonce);
        });
      },
      close() {
        isClosed = true;
        stop();
        for (const port of ports.values()) port.close();
      },
    };
  },

  introduce(ownerThread, fabricId, nonce, onNudge, onGone) {
    const { port1: own, port2: port } = new MessageChannel();
    const timer = setInterval(onNudge, announceEveryMs);
    timer.unref();
    own.on("message", () => {
      onNudge();
      own.postMessage(null);
    });
    // The owner closed its fabric, or exited: nobody waits for this thread any more.
    const gone = (): void => {
      clearInterval(timer);
      onGone();
    };
    own.on("close", gone);
    own.unref();
    const introduction: Introduction = { type: introductionType, fabricId, nonce, port };
    // To itself a thread posts nothing.
    if (ownerThread === threadId) return receive(introduction);
    // Posted before this returns; the promise tells of the delivery only. An owner that has exited receives nothing,
    // and waits for nobody.
    postMessageToThread(ownerThread, introduction, [port]).catch(gone);
  },
};
