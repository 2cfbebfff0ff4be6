/** Tasks that name a module run here, on the one thread there is, attached to the fabric as a thread of their own would be. */
import {
  runRequest,
  type CodecPorts,
  type RunningTask,
  type TaskFunction,
  type TaskReply,
  type TaskRunner,
} from "@selvage/batch";
import { FabricError } from "@selvage/fabric";
import { unguarded } from "./guard.ts";
import type { SimNode } from "./sim-node.ts";
import type { SimThreads } from "./sim-threads.ts";

/** A runner for one run of a plan. */
export function inlineRunner(
  node: SimNode,
  threads: SimThreads,
  codecs: CodecPorts = {},
): TaskRunner {
  return {
    warm() {},
    run(request, host): RunningTask {
      const { promise, resolve, reject } = Promise.withResolvers<TaskReply>();
      const abort = new AbortController();
      const load = async (): Promise<TaskFunction> => {
        // Reading a file takes real time, which must not decide anything, and is the host's to do.
        const loading = unguarded(() => import(request.module));
        const { default: body } = (await node.kernel.outside(loading)) as {
          default?: unknown;
        };
        if (typeof body === "function") return body as TaskFunction;
        throw new FabricError(
          "INVALID_ARGUMENT",
          `Cannot run ${request.module}: expected a function as its default export`,
          { module: request.module },
        );
      };
      node.after(100, "task", () => {
        const ports = {
          ...host,
          attachments: threads.attachments(),
          signal: abort.signal,
          codecs,
        };
        runRequest(request, load, ports).then(resolve, reject);
      });
      return {
        reply: promise,
        abort: (reason) => abort.abort(new DOMException(reason, "AbortError")),
        terminate() {
          abort.abort(new DOMException("terminated", "AbortError"));
          const { task, attempt } = request;
          reject(
            new FabricError("DISCONNECTED", `Attempt ${attempt} of "${task}" was ended`, {
              task,
              attempt,
            }),
          );
        },
      };
    },
    close: () => Promise.resolve(),
  };
}
