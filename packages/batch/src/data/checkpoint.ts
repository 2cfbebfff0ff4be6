/**
 * What a run under a `runId` has committed, on leased blocks: so that a run under the same id, in this process or the next,
 * does not do it again.
 *
 * Invariant C2: a task counts as committed once its outputs, and then its slot, are durable. What is read from them is
 * what was committed, or the task is run again and that is told.
 * Invariant C3: at a time one run of an id is at work on a fabric; a block file has one fabric that writes it. A run whose
 * leases have lapsed commits nothing more, and one that has ended has nothing on its way to the blocks.
 */
import {
  assert,
  FabricError,
  invalidArgument,
  isFabricError,
  jsonCodec,
  type BlockLease,
  type Fabric,
} from "@selvage/fabric";
import { FencedRecord } from "@selvage/fence";
import { BlockExtents, type Chunk, type Extent } from "./block-extents.ts";
import { IndexLayout, manifestBlocks, type OutputPlace } from "./checkpoint-index.ts";
import type { DataRef } from "./data-format.ts";
import type { ExecutionPlan, PlannedTask } from "../graph/execution-plan.ts";
import type { OutputShelf } from "./output-shelf.ts";
import type { RunLedger } from "../run/run-ledger.ts";
import type { BlockCopy, PlacedOutput } from "./shelf-entry.ts";

/** What a checkpoint is made of. */
export interface CheckpointOptions {
  readonly fabric: Fabric;
  readonly plan: ExecutionPlan;
  readonly ttlMs: number;
  readonly shelf: OutputShelf;
  readonly ledger: RunLedger;
  readonly tell: (told: CheckpointTold) => void;
}

/** A task's commit was found, or something was found damaged. */
interface CheckpointTold {
  readonly state: "restored" | "damaged";
  /** Undefined: all of it, or what says where it is. */
  readonly name: string | undefined;
  readonly error?: unknown;
}

interface Manifest {
  readonly fingerprint: readonly [number, number];
  readonly tasks: number;
}

const kind = "RUN1";
/** A label is bounded in a block file. */
const runIdUnitsMax = 128;
const manifestCodec = jsonCodec<Manifest>();

// The runs at work, by their fabrics.
const atWork = new WeakMap<Fabric, Set<string>>();

/** Checks a run's id. @throws FabricError `INVALID_ARGUMENT`. */
export function checkRunId(runId: unknown): void {
  if (typeof runId !== "string" || runId === "" || runId.length > runIdUnitsMax)
    throw invalidArgument("runId", `a name of up to ${runIdUnitsMax} characters`, runId);
}

/** The checkpoint of one run. */
export class Checkpoint {
  readonly #runId: string;
  readonly #options: CheckpointOptions;
  readonly #layout: IndexLayout;
  readonly #extents: BlockExtents;
  readonly #numbers: ReadonlyMap<string, number>;
  readonly #committed = new Map<string, readonly Extent[]>();
  #index: BlockLease | undefined;
  #unhold: (() => void) | undefined;
  // Commits under way, also of attempts that were given up.
  readonly #committing = new Set<Promise<unknown>>();
  #isEnding = false;
  #isOver = false;

  private constructor(runId: string, options: CheckpointOptions) {
    const { fabric, plan, ttlMs, shelf } = options;
    this.#runId = runId;
    this.#options = options;
    this.#layout = new IndexLayout(plan);
    this.#numbers = new Map(plan.tasks.map(({ name }, number) => [name, number]));
    const hold = (lease: BlockLease): (() => void) => shelf.holdBlocks(lease, ttlMs);
    this.#extents = new BlockExtents({ fabric, ttlMs, label: labelsOf(runId).data, hold });
  }

  /**
   * Takes up what was committed under the id, or begins anew. Reads all of it.
   * @throws FabricError `CONFLICT` (`details.kind` is `"runner"`: the id is at work; `"plan"`: it belongs to another plan),
   * `CAPACITY_EXCEEDED`, `STORE_UNAVAILABLE`.
   */
  static async open(
    runId: string | undefined,
    options: CheckpointOptions,
  ): Promise<Checkpoint | undefined> {
    if (runId === undefined) return undefined;
    const { fabric } = options;
    const running = atWork.get(fabric) ?? new Set();
    atWork.set(fabric, running);
    if (running.has(runId))
      throw new FabricError("CONFLICT", `Run "${runId}" is at work already`, {
        kind: "runner",
        names: [runId],
      });
    running.add(runId);
    const checkpoint = new Checkpoint(runId, options);
    try {
      await checkpoint.#open();
      return checkpoint;
    } catch (thrown) {
      checkpoint.#leave();
      throw thrown;
    }
  }

  /** The outputs of a task that has committed; undefined for one that has not. */
  restored({ name, outputs }: PlannedTask): PlacedOutput[] | undefined {
    const extents = this.#committed.get(name);
    return extents?.map((extent, at) => ({
      ref: outputs[at] as DataRef,
      bytes: extent.bytes,
      copy: this.#copy(extent),
    }));
  }

  /**
   * Makes a task's outputs durable, in the order in which it declares them, and then that it has committed. The copies of
   * the bytes are made before this returns.
   * @throws FabricError `CAPACITY_EXCEEDED`, `STORE_UNAVAILABLE`, `LEASE_EXPIRED`, `DISCONNECTED` (the run is over): then the
   * task has not committed, as far as anybody was told.
   */
  async commit(task: string, outputs: readonly Uint8Array[]): Promise<BlockCopy[]> {
    if (this.#isEnding)
      throw new FabricError("DISCONNECTED", `Cannot commit "${task}": the run is over`, { task });
    const committing = this.#commit(task, outputs);
    this.#committing.add(committing);
    try {
      return await committing;
    } finally {
      this.#committing.delete(committing);
    }
  }

  async #commit(task: string, outputs: readonly Uint8Array[]): Promise<BlockCopy[]> {
    const index = this.#index;
    const number = this.#numbers.get(task);
    assert(index !== undefined && number !== undefined, "a task of this run commits", task);
    const writes = await Promise.allSettled(outputs.map((bytes) => this.#extents.write(bytes)));
    const extents = writes.flatMap((write) => (write.status === "fulfilled" ? [write.value] : []));
    try {
      for (const write of writes) if (write.status === "rejected") throw write.reason;
      // C2: what a slot names is durable before it.
      await this.#extents.flush();
      await this.#layout.write(index, number, extents.map(placeOf));
      await index.flush();
    } catch (thrown) {
      // The slot may be there, and be found: then it must name what it named. So these blocks stay taken.
      if (writes.some(({ status }) => status === "rejected"))
        for (const extent of extents) this.#extents.free(extent);
      throw thrown;
    }
    const before = this.#committed.get(task);
    this.#committed.set(task, extents);
    for (const extent of before ?? []) this.#extents.free(extent);
    return extents.map((extent) => this.#copy(extent));
  }

  /** {@link commit}, to be handed on. */
  readonly committer = (task: string, outputs: readonly Uint8Array[]): Promise<BlockCopy[]> =>
    this.commit(task, outputs);

  /**
   * The run is over, once nobody commits any more. One that has succeeded gives everything back, the index first and for
   * good; else all is left to who comes next under this id, or to its TTL. Idempotent.
   */
  async end(hasSucceeded: boolean): Promise<void> {
    if (this.#isOver) return;
    this.#isEnding = true;
    // What an attempt writes that was given up would come over what the next run puts where it finds nothing.
    await Promise.allSettled(this.#committing);
    if (hasSucceeded) await this.#clear();
    else this.#leave();
  }

  async #clear(): Promise<void> {
    const index = this.#index;
    this.#unhold?.();
    index?.release();
    await index?.settle();
    this.#extents.close();
    this.#close();
  }

  #leave(): void {
    this.#unhold?.();
    for (const lease of [
      ...this.#extents.leases,
      ...(this.#index === undefined ? [] : [this.#index]),
    ])
      this.#options.ledger.leave(lease);
    this.#extents.abandon();
    this.#close();
  }

  #close(): void {
    this.#isOver = true;
    atWork.get(this.#options.fabric)?.delete(this.#runId);
  }

  #copy(extent: Extent): BlockCopy {
    return { read: () => this.#extents.read(extent), free: () => {} };
  }

  async #open(): Promise<void> {
    const { fabric } = this.#options;
    const labels = labelsOf(this.#runId);
    const found: BlockLease[] = [];
    const data: BlockLease[] = [];
    for (const lease of fabric.leases()) {
      if (lease.kind !== "block" || !lease.isLive) continue;
      if (lease.label === labels.index) found.push(lease);
      else if (lease.label === labels.data) data.push(lease);
    }
    for (const lease of found) await this.#takeUp(lease);
    if (this.#index !== undefined) return this.#restore(this.#index, data);
    // Left by who was killed while it gave them back, or lost its index.
    for (const lease of data) lease.release();
    await this.#begin(labels.index);
  }

  async #begin(label: string): Promise<void> {
    const { fabric, ttlMs } = this.#options;
    const { numBlocks } = this.#layout;
    const index = await fabric.block().minBlocks(numBlocks).leaseMs(ttlMs).label(label).acquire();
    this.#own(index);
    await this.#sign(new FencedRecord(manifestBlocks(index), kind, 0));
  }

  // Takes an index up that an earlier run has left, unless it cannot be read.
  async #takeUp(lease: BlockLease): Promise<void> {
    const record = new FencedRecord(manifestBlocks(lease), kind);
    let manifest: Manifest;
    try {
      const { state } = await record.read();
      if (state === undefined) return void lease.release(); // Its run was killed before it began.
      manifest = manifestCodec.decode(state);
    } catch (error) {
      if (isLapse(error)) return;
      if (!isDamage(error)) throw error;
      this.#options.tell({ state: "damaged", name: undefined, error });
      return void lease.release();
    }
    const { fingerprint, tasks } = manifest;
    const own = this.#layout.fingerprint;
    const isOwn =
      fingerprint?.[0] === own[0] &&
      fingerprint[1] === own[1] &&
      tasks === this.#options.plan.taskCount() &&
      lease.numBlocks >= this.#layout.numBlocks;
    if (!isOwn)
      throw new FabricError(
        "CONFLICT",
        `Run "${this.#runId}" belongs to another plan: its tasks, edges or formats have changed`,
        { kind: "plan", names: [this.#runId] },
      );
    if (!(await this.#isRenewed(lease))) return;
    this.#own(lease);
    // A generation of its own: who wrote before it is stale from now on.
    await this.#sign(record);
  }

  // Its TTL may be over by now: then it is not there.
  async #isRenewed(lease: BlockLease): Promise<boolean> {
    try {
      await lease.renew(this.#options.ttlMs);
      return true;
    } catch (error) {
      if (!isLapse(error)) throw error;
      return false;
    }
  }

  #own(lease: BlockLease): void {
    this.#unhold?.();
    this.#index?.release();
    this.#index = lease;
    this.#unhold = this.#options.shelf.holdBlocks(lease, this.#options.ttlMs);
  }

  async #sign(record: FencedRecord): Promise<void> {
    const { fingerprint } = this.#layout;
    const tasks = this.#options.plan.taskCount();
    await record.write(manifestCodec.encode({ fingerprint, tasks }));
  }

  async #restore(index: BlockLease, leases: readonly BlockLease[]): Promise<void> {
    const { plan, tell } = this.#options;
    const chunks = new Map<string, Chunk>();
    for (const lease of leases)
      if (await this.#isRenewed(lease)) chunks.set(keyOf(lease), this.#extents.adopt(lease));
    const outputsOf = plan.tasks.map(({ outputs }) => outputs.length);
    const placesOf = new Map<string, readonly OutputPlace[]>();
    let number = 0;
    for await (const reading of this.#layout.readAll(index, outputsOf)) {
      const { name } = plan.tasks[number++] as PlannedTask;
      if (reading === "damaged") tell({ state: "damaged", name });
      else if (reading !== "empty") placesOf.set(name, reading);
    }
    const extentOf = this.#claim(chunks, [...placesOf.values()].flat());
    for (const [name, places] of placesOf) {
      const extents = places.map((place) => extentOf.get(place));
      const error = await this.#whyNot(extents);
      if (error === undefined) {
        this.#committed.set(name, extents as Extent[]);
        tell({ state: "restored", name });
        continue;
      }
      tell({ state: "damaged", name, error });
      for (const extent of extents) if (extent !== undefined) this.#extents.free(extent);
    }
  }

  // Claims the places in their chunks: none of a chunk whose places contradict each other.
  #claim(
    chunks: ReadonlyMap<string, Chunk>,
    places: readonly OutputPlace[],
  ): Map<OutputPlace, Extent> {
    const extentOf = new Map<OutputPlace, Extent>();
    const byChunk = new Map<string, OutputPlace[]>();
    for (const place of places) {
      const key = keyOf(place);
      const here = byChunk.get(key);
      if (here === undefined) byChunk.set(key, [place]);
      else here.push(place);
    }
    for (const [key, here] of byChunk) {
      const chunk = chunks.get(key);
      if (chunk === undefined) continue;
      const sorted = here.toSorted((a, b) => a.first - b.first);
      const extents = this.#extents.claim(chunk, sorted);
      if (extents !== undefined)
        for (const [at, place] of sorted.entries()) extentOf.set(place, extents[at] as Extent);
    }
    return extentOf;
  }

  // Why a task's outputs cannot be had: read in full, before anybody relies on them.
  async #whyNot(extents: readonly (Extent | undefined)[]): Promise<unknown> {
    try {
      for (const extent of extents) {
        if (extent === undefined)
          return new FabricError("LEASE_EXPIRED", "The lease of a committed output is gone");
        await this.#extents.read(extent);
      }
      return undefined;
    } catch (error) {
      if (!isDamage(error)) throw error;
      return error;
    }
  }
}

function labelsOf(runId: string): { readonly index: string; readonly data: string } {
  return { index: `selvage-run/${runId}`, data: `selvage-run-data/${runId}` };
}

function keyOf({
  slot,
  generation,
}: {
  readonly slot: number;
  readonly generation: number;
}): string {
  return `${slot} ${generation}`;
}

function placeOf({ chunk, first, bytes, check }: Extent): OutputPlace {
  const { slot, generation } = chunk.lease;
  return { slot, generation, first, bytes, check };
}

function isLapse(error: unknown): boolean {
  return isFabricError(error) && error.code === "LEASE_EXPIRED";
}

function isDamage(error: unknown): boolean {
  return isFabricError(error) && (error.code === "CORRUPT_RECORD" || error.code === "DECODE");
}
