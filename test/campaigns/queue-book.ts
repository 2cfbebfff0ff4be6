/** A queue of the collections campaign, and what is known of it: what each client was told, and what must be so at once. */
import { FabricQueue, type QueueOptions } from "@selvage/collections";
import { isFabricError, regionOf, type Fabric, type MemLease } from "@selvage/fabric";
import {
  sometimes,
  Violation,
  type History,
  type OperationToken,
  type RandomStream,
  type SimNode,
} from "@selvage/sim";
import type { ProcessThread, ProcessThreads } from "./process-threads.ts";
import { drawValues, type Values } from "./queue-values.ts";
import { a3, r1, r3, r6 } from "./collections-held.ts";

/** What an episode happens in. */
export interface Stage {
  readonly node: SimNode;
  readonly threads: ProcessThreads;
  readonly fabric: Fabric;
  readonly history: History;
  /** No other episode of the run has it. */
  readonly key: string;
}

/** A handle on the queue, and what it has under way. */
export interface Side {
  readonly queue: FabricQueue<unknown>;
  readonly client: string;
  /** Whether it has pushed, or popped: with one producer and one consumer it then has that role. */
  isActive: boolean;
  /** Undefined: the thread that has the fabric, which does not exit. */
  readonly thread: ProcessThread | undefined;
  claimed:
    { readonly bytes: Uint8Array; readonly id: number; readonly token: OperationToken } | undefined;
  peeked: { readonly id: number; readonly token: OperationToken } | undefined;
}

/** The queue, and what is known of it. */
export class QueueBook {
  readonly lease: MemLease;
  readonly values: Values;
  readonly options: QueueOptions;
  readonly capacity: number;
  readonly random: RandomStream;
  readonly stage: Stage;
  /** Since when each value is in the queue, in virtual microseconds; infinite while it is being offered. */
  readonly inside: Map<number, number> = new Map();
  /** Values that a consumer had when it left, or died. */
  readonly mayBeLost: Set<number> = new Set();
  readonly unblockAfterMs: number;
  isOver = false;
  openClaims = 0;
  /** Polls under way that may have been answered already. */
  asleep = 0;
  staleClaims = 0;
  deadClaims = 0;
  abortedClaims = 0;
  #peeks = 0;
  sides: Side[] = [];
  #ids = 0;
  #clients = 0;
  operations = 0;

  constructor(stage: Stage) {
    const { node, fabric } = stage;
    const random = node.random;
    this.stage = stage;
    this.random = random;
    this.values = drawValues(random);
    const draw = random.below(3);
    this.capacity = random.spread(1, 24);
    this.unblockAfterMs = random.spread(20, 400);
    const { unblockAfterMs } = this;
    this.options = { many: draw === 0, records: draw === 1, unblockAfterMs };
    const bytes = FabricQueue.bytesFor(this.capacity, this.values.stride, this.options);
    const ttlMs = random.chance(1, 3) ? random.spread(50, 4_000) : 10_000_000;
    this.lease = fabric.mem().minBytes(bytes).leaseMs(ttlMs).acquire();
    sometimes("a queue for many was made", draw === 0);
    const { capacity, values } = this;
    void new FabricQueue(this.lease, capacity, values.stride, values.codec, this.options);
  }

  get isMany(): boolean {
    return this.options.many === true;
  }

  /** A handle, on a thread of its own or on the fabric's. */
  join(isOwn: boolean): Side {
    const { threads } = this.stage;
    const thread = isOwn ? threads.spawn() : undefined;
    const { codec } = this.values;
    const { unblockAfterMs } = this;
    const queue =
      thread === undefined
        ? FabricQueue.attach(this.lease, codec, { unblockAfterMs })
        : FabricQueue.attach({ kind: "queue", version: 1, lease: this.lease.ticket() }, codec, {
            unblockAfterMs,
            attachMem: (ticket) => thread.attachMem(ticket),
          });
    const client = `c${++this.#clients}`;
    const side: Side = {
      queue,
      client,
      thread,
      claimed: undefined,
      peeked: undefined,
      isActive: false,
    };
    this.sides.push(side);
    return side;
  }

  nextId(): number {
    return ++this.#ids;
  }

  offer(side: Side, id: number): OperationToken {
    this.operations++;
    side.isActive = true;
    this.inside.set(id, Infinity);
    const input = { type: "offer", value: id, queue: this.stage.key };
    return this.stage.history.invoke(side.client, input);
  }

  accepted(token: OperationToken, id: number): void {
    this.stage.history.ok(token, true);
    if (this.inside.has(id)) this.inside.set(id, this.stage.node.kernel.nowUs);
    const { capacity, options } = this;
    if (options.records === true) return;
    let count = 0;
    for (const [each, sinceUs] of this.inside)
      if (sinceUs < Infinity && !this.mayBeLost.has(each)) count++;
    // Who waits without blocking may have got a value that it has not told of yet.
    if (count > capacity + this.asleep)
      throw new Violation(r3, `${count} values in ${capacity} slots`);
  }

  refused(token: OperationToken, id: number): void {
    this.stage.history.fail(token);
    this.inside.delete(id);
  }

  poll(side: Side): OperationToken {
    side.isActive = true;
    this.operations++;
    return this.stage.history.invoke(side.client, { type: "poll", queue: this.stage.key });
  }

  polled(token: OperationToken, id: number): void {
    this.stage.history.ok(token, id);
    if (!this.inside.delete(id)) throw new Violation(r1, `${id} was not in the queue`);
  }

  /** A poll found nothing. Values for longer than `graceUs` that nobody has taken should have been found. */
  foundNothing(token: OperationToken, graceUs: number): void {
    const { history, node } = this.stage;
    if (this.isObstructed) return history.fail(token);
    history.ok(token, undefined);
    const { nowUs } = node.kernel;
    for (const [id, sinceUs] of this.inside)
      if (sinceUs <= nowUs - graceUs && !this.mayBeLost.has(id))
        throw new Violation(r6, `asleep beside ${id}, there for ${nowUs - sinceUs} us`);
  }

  /** With many: what a claim or a look stands before is not reached. */
  get isObstructed(): boolean {
    if (!this.isMany) return false;
    return this.openClaims > 0 || this.deadClaims > 0 || this.#peeks > 0;
  }

  peeking(by: 1 | -1): void {
    this.#peeks += by;
  }

  /** Whether a side is at its end; rethrows what no program expects. */
  endsSide(thrown: unknown): boolean {
    if (thrown instanceof Violation || !isFabricError(thrown)) throw thrown;
    const { code } = thrown;
    if (code === "CONFLICT") return false;
    if (code === "DISCONNECTED") return true;
    if (code !== "LEASE_EXPIRED" && code !== "REVOKED") throw thrown;
    const leftMs = this.lease.expiresAtMs - this.stage.fabric.nowMs();
    if (leftMs > 0) throw new Violation(a3, `early: ${leftMs} ms were left`);
    return true;
  }

  /** Holds what passed to the lease's deadline. */
  passes<R>(run: () => R): R {
    const nowMs = this.stage.fabric.control.nowMs();
    const result = run();
    if (nowMs >= this.lease.expiresAtMs)
      throw new Violation(a3, `${nowMs - this.lease.expiresAtMs} ms late`);
    return result;
  }
}

/** Whether two leases lie in the same bytes. */
export function isSamePlace(one: MemLease, two: MemLease): boolean {
  const [a, b] = [regionOf(one), regionOf(two)];
  return a.memory.bytes.buffer === b.memory.bytes.buffer && a.offset === b.offset;
}
