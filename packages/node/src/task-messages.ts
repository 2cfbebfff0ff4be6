/** What a task's thread and its owner say to each other. */
import type { CommittedOutput, TaskRequest, TicketedAllocation } from "@selvage/batch";
import type { FabricErrorWire } from "@selvage/fabric";
import type { MessagePort } from "node:worker_threads";

/** What a task's thread starts with. */
export interface TaskWorkerData {
  readonly port: MessagePort;
  /**
   * One word that the owner raises when it has answered a request for a lease, so that the thread can wait for the
   * answer without giving up its turn: `TaskContext.allocate` is synchronous.
   */
  readonly answered: SharedArrayBuffer;
  /** Modules to import while there is no request. */
  readonly modules: readonly string[];
}

/** From the owner. `run` and `abort` wait for a turn of the loop; `granted` and `refused` are fetched within one. */
export type ToTask =
  | { readonly type: "run"; readonly request: TaskRequest }
  | { readonly type: "abort"; readonly reason: string }
  | { readonly type: "granted"; readonly allocation: TicketedAllocation }
  | { readonly type: "refused"; readonly error: FabricErrorWire };

/** From the task's thread. */
export type FromTask =
  | { readonly type: "started"; readonly thread: number }
  | { readonly type: "acquire"; readonly output: string; readonly bytes: number }
  | { readonly type: "progress"; readonly fraction: number | undefined }
  | { readonly type: "log"; readonly message: string }
  | { readonly type: "done"; readonly outputs: readonly CommittedOutput[] }
  | { readonly type: "failed"; readonly error: FabricErrorWire };
