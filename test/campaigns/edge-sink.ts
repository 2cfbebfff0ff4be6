/** A sink that keeps, of each stream, the newest consumer's epoch and the next number: with each effect, in one step, on its disk. */
import { FabricError, jsonCodec, type RecordBlocks } from "@selvage/fabric";
import { FencedRecord, Fenced, FenceEpoch, FenceGuard } from "@selvage/fence";
import { sometimes, type SimNode, type World } from "@selvage/sim";
import { onDisk } from "./on-disk.ts";
import { Rpc } from "./rpc.ts";

/** Effects of a consumer: items with these numbers, which follow each other but for what was told as lost. */
export interface EdgeApply {
  readonly resource: string;
  readonly holder: string;
  readonly epoch: number;
  readonly values: readonly number[];
  readonly told: readonly { readonly from: number; readonly to: number }[];
}

/** What a sink says to a consumer that begins. */
export interface EdgePromise {
  readonly epoch: number;
  /** The number that comes next. */
  readonly next: number;
}

interface Seal {
  readonly resource: string;
  /** The epoch to look at; undefined: a new one. */
  readonly epoch?: number;
}

type State = Readonly<Record<string, EdgePromise>>;
const codec = jsonCodec<State>();

/** Serves for as long as its disk lets it, and then again. */
export async function edgeSinkProgram(w: World, node: SimNode): Promise<void> {
  let sink: Sink | undefined;
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: (sink: Sink) => Promise<T>): Promise<T> => {
    const mine = last.then(async () => {
      if (sink === undefined) throw new FabricError("STORE_UNAVAILABLE", "Cannot serve: not open");
      return work(sink);
    });
    last = mine.catch(() => {});
    return mine;
  };
  Rpc.serve(node, {
    seal: (ask: Seal) => inTurn((open) => open.seal(ask)),
    apply: (effect: EdgeApply) => inTurn((open) => open.apply(effect)),
  });
  await onDisk(w, node, async (blocks) => {
    const opened = new Sink(node, blocks);
    await opened.open();
    sink = opened;
    await opened.over;
    sink = undefined;
  });
}

class Sink {
  readonly over: Promise<void>;
  readonly #node: SimNode;
  readonly #record: FencedRecord;
  #end: () => void = () => {};
  #state: State = {};

  constructor(node: SimNode, blocks: RecordBlocks) {
    this.#node = node;
    this.#record = new FencedRecord(blocks, "EDGE");
    this.over = new Promise((resolve) => (this.#end = resolve));
  }

  async open(): Promise<void> {
    const { state } = await this.#record.read();
    if (state !== undefined) this.#state = codec.decode(state);
  }

  async seal({ resource, epoch }: Seal): Promise<EdgePromise> {
    const kept = this.#state[resource] ?? { epoch: 0, next: 0 };
    if (epoch !== undefined) return kept;
    const promised = { ...kept, epoch: kept.epoch + 1 };
    await this.#keep(resource, promised);
    this.#node.record("sink.promised", { sink: this.#node.name, resource, epoch: promised.epoch });
    return promised;
  }

  async apply({ resource, holder, epoch, values, told }: EdgeApply): Promise<void> {
    const kept = this.#state[resource] ?? { epoch: 0, next: 0 };
    const guard = new FenceGuard(FenceEpoch.of(kept.epoch));
    const next = guard.apply(Fenced.at(FenceEpoch.of(epoch), values), (numbers) =>
      nextOf(kept.next, numbers, told),
    );
    sometimes(
      "a sink dropped what it had",
      values.some((number) => number < kept.next),
    );
    await this.#keep(resource, { epoch: kept.epoch, next });
    this.#node.record("sink.applied", { sink: this.#node.name, resource, holder, epoch });
  }

  async #keep(resource: string, kept: EdgePromise): Promise<void> {
    const state = { ...this.#state, [resource]: kept };
    try {
      await this.#record.write(codec.encode(state));
    } catch (cause) {
      this.#end();
      throw new FabricError("STORE_UNAVAILABLE", "Cannot write the sink's record", {}, { cause });
    }
    this.#state = state;
  }
}

/** @throws FabricError `CORRUPT_RECORD`: a number is left out, and nobody told. */
function nextOf(
  from: number,
  values: readonly number[],
  told: readonly { readonly from: number; readonly to: number }[],
): number {
  let next = from;
  for (const number of values) {
    if (number < next) continue;
    while (next < number) {
      const lost = told.find((range) => range.from <= next && next < range.to);
      if (lost === undefined)
        throw new FabricError("CORRUPT_RECORD", `Cannot apply ${number}: ${next} was left out`);
      next = Math.min(lost.to, number);
    }
    next = number + 1;
  }
  return next;
}
