/** What a run holds for its tasks: outputs in leases and on blocks, what is kept of them, and what is durable. */
import type { Fabric } from "@selvage/fabric";
import { RenewalManager } from "@selvage/leasekit";
import { Checkpoint } from "../data/checkpoint.ts";
import { codecsOf, type CodecOf } from "../data/data-codecs.ts";
import type { ExecutorOptions, ExecutorPorts, ResolvedExecution } from "./execution-options.ts";
import type { ExecutionPlan, PlannedTask } from "../graph/execution-plan.ts";
import type { ExecutionResult } from "./execution-result.ts";
import { KeptOutputs, withKeep } from "../data/kept-outputs.ts";
import { OutputShelf } from "../data/output-shelf.ts";
import type { ExecutionEvent } from "./run-events.ts";
import { RunLedger } from "./run-ledger.ts";
import type { ShelvedOutput } from "../data/shelf-entry.ts";

/** What it is made of. */
export interface RunDataParts {
  readonly plan: ExecutionPlan;
  readonly options: ExecutorOptions;
  readonly resolved: ResolvedExecution;
  readonly fabric: Fabric;
  readonly ports: ExecutorPorts;
}

/** The data of one run. */
export class RunData {
  readonly ledger: RunLedger;
  readonly shelf: OutputShelf;
  readonly codecOf: CodecOf;
  readonly #parts: RunDataParts;
  readonly #readers: (output: string) => string[];
  readonly #tell: (event: ExecutionEvent) => void;
  readonly #kept: KeptOutputs;
  readonly #renewals: RenewalManager | undefined;
  #checkpoint: Checkpoint | undefined;

  /** `readers` answers who may still read an output. */
  constructor(
    parts: RunDataParts,
    readers: (output: string) => string[],
    tell: (event: ExecutionEvent) => void,
  ) {
    const { plan, options, resolved, fabric, ports } = parts;
    this.#parts = parts;
    this.#readers = readers;
    this.#tell = tell;
    const { renewals } = options;
    this.#renewals = renewals === false ? undefined : (renewals ?? new RenewalManager(fabric));
    this.ledger = new RunLedger(fabric, (event, origin) =>
      tell({ type: "lease", ...origin, event, atMs: event.atMs }),
    );
    // Only who keeps outputs asks: of a million tasks without, nobody wants a table.
    let places: ReadonlyMap<string, number> | undefined;
    this.shelf = new OutputShelf({
      ...resolved,
      fabric,
      renewals: this.#renewals,
      ledger: this.ledger,
      timer: ports.timer,
      keep: new Set(options.keep),
      placeOf: (task) => (places ??= plan.places()).get(task) ?? 0,
      onSpill: (told) => {
        this.ledger.moved(told.direction, told.bytes);
        tell({ type: "spill", ...told, atMs: fabric.nowMs() });
      },
    });
    this.codecOf = codecsOf(ports.codecs, options.budget);
    this.#kept = new KeptOutputs({ ...resolved, timer: ports.timer, codecOf: this.codecOf });
  }

  /** Takes the run's inputs, and what was committed under its id. Nothing starts before. @throws FabricError as `Checkpoint.open`. */
  async open(inputs: readonly ShelvedOutput[]): Promise<void> {
    const { plan, options, resolved, fabric } = this.#parts;
    // Leases are kept by a thread beside this one, which has to be at work.
    if (this.#renewals !== undefined) await fabric.keeper()?.ready;
    for (const input of inputs) this.shelf.lend(input, this.#readers(input.ref.name));
    this.#checkpoint = await Checkpoint.open(options.runId, {
      fabric,
      plan,
      ttlMs: resolved.checkpointTtlMs,
      shelf: this.shelf,
      ledger: this.ledger,
      tell: (told) => this.#tell({ type: "resume", ...told, atMs: fabric.nowMs() }),
    });
  }

  /** Makes outputs durable. Undefined where nothing is. */
  get commit(): Checkpoint["committer"] | undefined {
    return this.#checkpoint?.committer;
  }

  /** Whether a task had committed before this run: then its outputs are here now. */
  restore(task: PlannedTask): boolean {
    const outputs = this.#checkpoint?.restored(task);
    for (const output of outputs ?? [])
      this.shelf.put(task.name, output, this.#readers(output.ref.name));
    return outputs !== undefined;
  }

  /** Renews what no keeper does. */
  sweep(): void {
    const { fabric } = this.#parts;
    if (fabric.keeper() === undefined) this.#renewals?.sweep(fabric.nowMs());
  }

  /** The last outcome is there: hands over what is to be kept, and clears or leaves the checkpoint. */
  async settle(isWhole: boolean, isDone: boolean): Promise<void> {
    if (isWhole) await this.shelf.handOver(this.#kept);
    await this.#checkpoint?.end(isDone);
  }

  /** A result that gives what is kept. */
  resultOf(result: Omit<ExecutionResult, "keep">): ExecutionResult {
    return withKeep(result, this.#kept);
  }

  /** Lets outputs go, and leaves the checkpoint for another run. */
  async letGo(): Promise<void> {
    await this.#checkpoint?.end(false);
    this.shelf.close();
  }

  /** Ends the books; of a run that failed, what was to be kept goes, too. `then` is called when nobody waits to take anything. */
  close(isFailed: boolean, then: () => void): void {
    if (isFailed) this.ledger.releaseAll(true);
    this.ledger.close();
    this.#kept.wait(() => {
      if (this.#parts.options.renewals === undefined) this.#renewals?.[Symbol.dispose]();
      then();
    });
  }
}
