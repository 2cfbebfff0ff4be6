/** The keeper: a thread that advances a fabric's clock and renews its leases beside the work. */
import { MessageChannel, Worker } from "node:worker_threads";
import type { ControlPlane, Keeper } from "@selvage/fabric";
import { workerFlags } from "./worker-flags.ts";
import type { DeskMessage, KeeperData } from "./keeper-worker.ts";

/** Starts the keeper of a fabric whose clock's offset is `offsetMs`. Returns at once; the thread is at work some 30 ms later. */
export function startKeeper(control: ControlPlane, offsetMs: number): Keeper {
  const { port1, port2 } = new MessageChannel();
  let desks = 0;
  let isGone = false;
  const { handle: memory } = control.memory;
  if (memory === undefined)
    return { ready: Promise.resolve(), isGone: true, watch: () => () => {}, stop() {} };
  const workerData: KeeperData = { control: control.handle, memory, offsetMs, port: port2 };
  const worker = new Worker(new URL("./keeper-worker.ts", import.meta.url), {
    workerData,
    transferList: [port2],
    name: "selvage-keeper",
    ...workerFlags(),
  });
  const { promise: ready, resolve } = Promise.withResolvers<void>();
  // Whoever waits for the keeper keeps the program alive until it is there; afterwards the keeper does not.
  const atWork = (): void => {
    worker.unref();
    port1.unref();
    resolve();
  };
  port1.once("message", atWork);
  worker.once("exit", atWork);
  // A keeper that cannot start, or dies, takes nobody along: the owner's own ticks move the clock, and renew.
  worker.on("error", (error) => {
    isGone = true;
    process.emitWarning(error, { code: "SELVAGE_KEEPER" });
  });
  return {
    ready,
    get isGone() {
      return isGone;
    },
    watch(desk) {
      const message: DeskMessage = { type: "watch", id: ++desks, desk };
      port1.postMessage(message);
      return () => port1.postMessage({ type: "unwatch", id: message.id } satisfies DeskMessage);
    },
    stop() {
      // The stop word, which the fabric has set, ends the thread within one period.
      atWork();
      port1.close();
    },
  };
}
