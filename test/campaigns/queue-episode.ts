/**
 * One queue from its making to its end: threads of one process push and pop in turns, leave, die, and keep claims open, and
 * the lease may end under them. What each was told goes into a history; what must hold at once is held to at once.
 */
import { FabricQueue, type QueueOptions, type QueueTicket } from "@selvage/collections";
import { isFabricError } from "@selvage/fabric";
import { sometimes, Violation } from "@selvage/sim";
import { refused } from "./map-episode.ts";
import { consume, produce } from "./queue-actions.ts";
import { QueueBook, type Side, type Stage } from "./queue-book.ts";
import { checkEnded } from "./queue-ended.ts";
import { r1, r3, r4 } from "./collections-held.ts";

/** Operations in a history: more are slow to judge. */
const operationsMax = 80;

/** Makes a queue, and has it used. */
export class QueueEpisode {
  readonly #book: QueueBook;
  readonly #lingering: Side[] = [];

  constructor(stage: Stage) {
    this.#book = new QueueBook(stage);
  }

  async run(): Promise<void> {
    if (this.#book.random.chance(1, 4)) refusals(this.#book);
    const { node } = this.#book.stage;
    const count = (): number => (this.#book.isMany ? this.#book.random.between(1, 3) : 1);
    const all = [
      ...Array.from({ length: count() }, () => this.#work("producer")),
      ...Array.from({ length: count() }, () => this.#work("consumer")),
    ];
    await node.sleep(this.#book.random.spread(300, 6_000));
    this.#book.isOver = true;
    await Promise.all(all);
    if (this.#hasEnded()) return checkEnded(this.#book, this.#book.sides);
    try {
      await this.#drain();
    } catch (thrown) {
      if (!this.#book.endsSide(thrown)) throw thrown;
      await checkEnded(this.#book, this.#book.sides);
    }
    this.#book.lease.release();
  }

  #hasEnded(): boolean {
    return !this.#book.lease.isLive;
  }

  async #work(role: "producer" | "consumer"): Promise<void> {
    const { node } = this.#book.stage;
    const { random } = this.#book;
    const act = role === "producer" ? produce : consume;
    try {
      for (;;) {
        const side = this.#book.join(random.chance(3, 4));
        for (let turns = random.spread(2, 60); turns > 0; turns--) {
          await node.sleep(random.spread(5, 500));
          if (this.#book.isOver || this.#book.operations >= operationsMax)
            return side.claimed === undefined || random.chance(1, 2)
              ? this.#leave(side)
              : this.#linger(side, side.claimed);
          try {
            await act(this.#book, side);
          } catch (thrown) {
            if (this.#book.endsSide(thrown)) return;
            sometimes("a thread's exit was not heard of yet");
          }
          if (side.isActive && !this.#book.isMany && random.chance(1, 16)) this.#rival(role);
        }
        if (side.thread !== undefined && random.chance(1, 2)) this.#die(side);
        else this.#leave(side);
      }
    } catch (thrown) {
      // Attaching finds that the lease has ended.
      if (!this.#book.endsSide(thrown)) throw thrown;
    }
  }

  /** Another handle wants a role that is taken. */
  #rival(role: "producer" | "consumer"): void {
    const rival = this.#book.join(false);
    const { queue } = rival;
    try {
      if (role === "producer") queue.push(this.#book.values.make(0));
      else queue.pop();
    } catch (thrown) {
      if (this.#book.endsSide(thrown)) return;
      sometimes("a role was refused while another had it");
      this.#forget(rival);
      return queue[Symbol.dispose]();
    }
    throw new Violation(r3, `there are two of ${role}`);
  }

  #die(side: Side): void {
    const { claimed, peeked, thread } = side;
    this.#forget(side);
    thread?.exit();
    if (claimed !== undefined) {
      this.#book.openClaims--;
      this.#book.deadClaims++;
      this.#book.refused(claimed.token, claimed.id);
    }
    if (peeked !== undefined) this.#mayLose(peeked);
    sometimes("a thread died with a claim", claimed !== undefined);
    sometimes("a thread died with a value", peeked !== undefined && this.#book.isMany);
  }

  // Keeps its claim and its role, and does nothing more.
  #linger(side: Side, { token, id }: NonNullable<Side["claimed"]>): void {
    if (!this.#book.isMany) return this.#leave(side);
    this.#lingering.push(side);
    this.#book.openClaims--;
    this.#book.deadClaims++;
    this.#book.refused(token, id);
  }

  #leave(side: Side): void {
    const { claimed, peeked } = side;
    if (!this.#book.lease.isLive) return;
    this.#forget(side);
    side.queue[Symbol.dispose]();
    if (claimed !== undefined) {
      this.#book.openClaims--;
      this.#book.abortedClaims++;
      this.#book.refused(claimed.token, claimed.id);
    }
    if (peeked !== undefined) this.#mayLose(peeked);
    sometimes("a side was followed by another");
  }

  #mayLose({ id, token }: NonNullable<Side["peeked"]>): void {
    this.#book.peeking(-1);
    if (this.#book.isMany) {
      this.#book.mayBeLost.add(id);
      this.#book.stage.history.info(token);
    } else this.#book.stage.history.fail(token);
  }

  #forget(side: Side): void {
    this.#book.sides = this.#book.sides.filter((other) => other !== side);
  }

  async #drain(): Promise<void> {
    const { node } = this.#book.stage;
    // Exits are heard of.
    await node.sleep(20);
    const side = this.#book.join(false);
    const isClosed = this.#book.random.chance(1, 2);
    if (isClosed) await this.#iterate(side);
    else {
      // Two looks at a claim, so far apart, and one more for each that comes after it.
      for (let rounds = this.#book.deadClaims + this.#book.staleClaims + 3; rounds > 0; rounds--) {
        for (;;) {
          const token = this.#book.poll(side);
          const value = this.#book.passes(() => side.queue.pop());
          if (value === undefined) {
            this.#book.foundNothing(token, 0);
            break;
          }
          this.#book.polled(token, this.#book.values.idOf(value));
        }
        await node.sleep(this.#book.unblockAfterMs + 30);
      }
    }
    this.#account(side, !isClosed || this.#book.isMany);
    this.#leave(side);
    for (const late of this.#lingering) this.#comesLate(late);
  }

  // Its claim was given up, since somebody waited for what comes after it.
  #comesLate({ queue }: Side): void {
    try {
      queue.commit(4);
    } catch (thrown) {
      if (!isFabricError(thrown) || thrown.code !== "STALE_EPOCH") throw thrown;
      sometimes("a claim was given up in the end");
      return queue[Symbol.dispose]();
    }
    throw new Violation(r4, "a claim that was skipped was committed");
  }

  async #iterate(side: Side): Promise<void> {
    side.queue.close();
    if (!side.queue.isClosed) throw new Violation(r1, "a closed queue is open");
    const values = side.queue[Symbol.asyncIterator]();
    for (;;) {
      const token = this.#book.poll(side);
      const next = await values.next();
      if (next.done === true) {
        this.#book.stage.history.fail(token);
        break;
      }
      this.#book.polled(token, this.#book.values.idOf(next.value));
    }
    const id = this.#book.nextId();
    const token = this.#book.offer(side, id);
    try {
      side.queue.push(this.#book.values.make(id));
    } catch (thrown) {
      this.#book.refused(token, id);
      if (!this.#book.endsSide(thrown)) throw thrown;
      sometimes("a closed queue was read to its end");
      return;
    }
    throw new Violation(r1, `${id} was accepted`);
  }

  #account({ queue }: Side, isDrained: boolean): void {
    const { skipped, lost, capacity } = queue.stats();
    const left = [...this.#book.inside.keys()].filter((id) => !this.#book.mayBeLost.has(id));
    if (left.length > 0) throw new Violation(r1, `${left.join()} were never popped`);
    if (lost > this.#book.mayBeLost.size || capacity !== this.#book.capacity)
      throw new Violation(r4, `lost ${lost} of ${this.#book.mayBeLost.size}`);
    const least = this.#book.staleClaims + (isDrained ? this.#book.deadClaims : 0);
    const most = this.#book.staleClaims + this.#book.deadClaims + this.#book.abortedClaims;
    if (skipped < least || skipped > most)
      throw new Violation(r4, `skipped ${skipped}, not ${least} to ${most}`);
    sometimes("a dead claim was skipped", this.#book.deadClaims > 0 && skipped > 0);
    sometimes("a value was counted as lost", lost > 0);
    this.#book.stage.node.record("queue.drained", { skipped, lost });
  }
}

/** S1: what a queue cannot be made of, or joined by. */
function refusals({ lease, capacity, values: { stride } }: QueueBook): void {
  const make = (options: QueueOptions): unknown =>
    new FabricQueue(lease, capacity, stride, undefined, options);
  const ticket: QueueTicket = { kind: "queue", version: 1, lease: lease.ticket() };
  refused("INVALID_ARGUMENT", "a time before now", () => make({ unblockAfterMs: -1 }));
  refused("UNSUPPORTED", "records for many", () => make({ many: true, records: true }));
  refused("INVALID_ARGUMENT", "no options", () => make(1 as never));
  refused("INVALID_ARGUMENT", "no way to memory", () => FabricQueue.attach(ticket));
  refused("INVALID_ARGUMENT", "no ticket", () =>
    FabricQueue.attach({ ...ticket, kind: "" as "queue" }),
  );
  refused("CONFLICT", "another shape", () => new FabricQueue(lease, capacity, stride - 1));
  const queue = FabricQueue.attach(lease);
  refused("INVALID_ARGUMENT", "no values", () => queue.pushBatch(1 as never));
  refused("INVALID_ARGUMENT", "half a value", () => queue.popBatch(0.5));
  refused("INVALID_ARGUMENT", "nothing claimed", () => queue.commit());
  refused("INVALID_ARGUMENT", "nothing looked at", () => queue.consume());
  queue[Symbol.dispose]();
}
