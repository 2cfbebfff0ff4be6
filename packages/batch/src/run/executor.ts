/** Runs plans. */
import { invalidArgument } from "@selvage/fabric";
import { checkFormats } from "../data/data-codecs.ts";
import { resolveExecution, type ExecutorOptions, type ExecutorPorts } from "./execution-options.ts";
import type { ExecutionPlan } from "../graph/execution-plan.ts";
import type { ExecutionResult } from "./execution-result.ts";
import { checkKeep } from "../data/kept-outputs.ts";
import { matchInputs } from "../data/leased-inputs.ts";
import { SPILL_ATTEMPTS_MAX } from "../data/spill.ts";
import { RunResources } from "./run-resources.ts";
import { Run } from "./run.ts";

/** Runs plans: by waves, or each task when those before it have succeeded. */
// oxlint-disable-next-line typescript/no-extraneous-class -- hosts extend it with their ports: `Executor.run(plan)`
export class Executor {
  /**
   * Runs a plan once. Resolves when every task has its outcome and every lease of the run has ended and given its
   * bytes back; a task that fails does not reject. Times: normally the work, plus the TTL, plus two ticks.
   * @throws FabricError `INVALID_ARGUMENT`, `CAPACITY_EXCEEDED` (a task needs more than there can ever be: none has started); what
   * `onEvent` threw; a broken invariant. Then, too, nothing is left.
   */
  static async run(
    plan: ExecutionPlan,
    options: ExecutorOptions,
    ports: ExecutorPorts,
  ): Promise<ExecutionResult> {
    if (typeof (plan as ExecutionPlan | undefined)?.waves !== "function")
      throw invalidArgument("plan", "an execution plan: what TaskGraph.build() gives", plan);
    const resolved = resolveExecution(options);
    checkFormats(plan.tasks, ports.codecs);
    checkKeep(plan, options.keep);
    const inputs = matchInputs(plan.inputs, options.inputs, options.fabric);
    const fabric = options.fabric ?? ports.openFabric();
    try {
      const { limits = {} } = options;
      const attempts = resolved.spill ? SPILL_ATTEMPTS_MAX : undefined;
      const resources = new RunResources(plan, {
        fabric,
        threads: ports.threads,
        attempts,
        limits,
      });
      return await new Run({ plan, options, resolved, fabric, ports, resources }).run(inputs);
    } finally {
      if (options.fabric === undefined) fabric[Symbol.dispose]();
    }
  }
}
