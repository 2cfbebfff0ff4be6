/** The tasks that a module declares. */
import type { JobQueue } from "@selvage/node";
import { exportsNone, loadModule } from "../load-module.ts";

/** Declares tasks on a queue. */
export type Register = (queue: JobQueue) => unknown;

/** What declares a module's tasks: its export `register`, or its default. @throws FabricError as `loadModule`. */
export async function loadRegister(module: string): Promise<Register> {
  const exported = await loadModule(module);
  const register = exported["register"] ?? exported["default"];
  if (typeof register === "function") return register as Register;
  throw exportsNone(
    module,
    "function `register`, and none as its default",
    'export function register(queue) { queue.task("name", async (ctx, arg) => {}) }',
  );
}
