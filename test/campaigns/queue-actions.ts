/** What a thread does at a queue in one turn, and what it makes of the answer. */
import { isFabricError } from "@selvage/fabric";
import { sometimes, Violation } from "@selvage/sim";
import type { QueueBook, Side } from "./queue-book.ts";
import { r1, r2, r3 } from "./collections-held.ts";

/** A turn of one who pushes. Errors as the queue's. */
export async function produce(book: QueueBook, side: Side): Promise<void> {
  const { random, values } = book;
  const { queue, claimed } = side;
  if (claimed !== undefined) return endClaim(book, side, claimed);
  const draw = random.below(8);
  if (draw < 3) {
    // Several in one turn go a shorter way, where it is the same array each time.
    for (let burst = draw === 0 ? random.between(2, 5) : 1; burst > 0; burst--) {
      const id = book.nextId();
      pushed(book, side, id, () => queue.push(values.make(id)));
    }
  } else if (draw === 3) pushBatch(book, side);
  else if (draw === 4) await pushAsync(book, side);
  else if (draw < 7) claim(book, side);
  else if (random.chance(1, 2)) {
    // A thread may block only where it need not.
    const id = book.nextId();
    const isRoom = queue.stats().size < book.capacity && !book.isMany;
    if (isRoom) pushed(book, side, id, () => queue.pushWait(values.make(id), 5));
  } else book.passes(() => queue.flush());
}

function pushed(book: QueueBook, side: Side, id: number, run: () => boolean): void {
  const token = book.offer(side, id);
  let isIn = false;
  try {
    isIn = book.passes(run);
  } finally {
    if (!isIn) book.refused(token, id);
  }
  if (isIn) return book.accepted(token, id);
  sometimes("a queue was full");
  const { capacity, inside, options } = book;
  if (!book.isMany && options.records !== true && inside.size < capacity)
    throw new Violation(r3, `full with ${inside.size} of ${capacity}`);
}

function pushBatch(book: QueueBook, side: Side): void {
  const { random, values } = book;
  const ids = Array.from({ length: random.between(1, 6) }, () => book.nextId());
  // One array a value: the batch holds all of them at once.
  const batch = ids.map((id) => {
    const value = values.make(id);
    return value instanceof Uint8Array ? value.slice() : value;
  });
  const done = book.passes(() => side.queue.pushBatch(batch));
  for (const id of ids.slice(0, done)) {
    const token = book.offer(side, id);
    book.accepted(token, id);
  }
  sometimes("a batch was cut short", done < batch.length);
}

async function pushAsync(book: QueueBook, side: Side): Promise<void> {
  const { random, values } = book;
  const id = book.nextId();
  const token = book.offer(side, id);
  let isIn = false;
  try {
    const value = values.make(id);
    const own = value instanceof Uint8Array ? value.slice() : value;
    isIn = await side.queue.pushAsync(own, random.spread(1, 300));
  } finally {
    if (!isIn) book.refused(token, id);
  }
  if (isIn) book.accepted(token, id);
  sometimes("a push waited in vain", !isIn);
}

function claim(book: QueueBook, side: Side): void {
  const id = book.nextId();
  const bytes = book.passes(() => side.queue.claim());
  if (bytes === undefined) return;
  side.claimed = { bytes, id, token: book.offer(side, id) };
  book.openClaims++;
  try {
    side.queue.push(book.values.make(book.nextId()));
  } catch (thrown) {
    if (isFabricError(thrown) && thrown.code === "CONFLICT") return;
    throw thrown;
  }
  throw new Violation(r2, "a value was pushed beside an open claim");
}

async function endClaim(
  book: QueueBook,
  side: Side,
  { bytes, id, token }: NonNullable<Side["claimed"]>,
): Promise<void> {
  const { random, values, stage } = book;
  if (random.chance(1, 4)) await stage.node.sleep(2 * book.unblockAfterMs);
  // Stays open: whoever follows ends it, or it is given up.
  if (random.chance(1, 8)) return;
  const value = values.make(id);
  const encoded = values.codec.encode(value);
  if (book.lease.isLive) bytes.set(encoded);
  side.claimed = undefined;
  book.openClaims--;
  let isIn = false;
  const isKept = random.chance(3, 4);
  try {
    if (isKept) side.queue.commit(encoded.length);
    else side.queue.abort();
    isIn = isKept;
  } catch (thrown) {
    if (!isFabricError(thrown) || thrown.code !== "STALE_EPOCH") throw thrown;
    book.staleClaims++;
    sometimes("a late commit failed");
  } finally {
    if (!isIn) book.refused(token, id);
  }
  if (!isKept) book.abortedClaims++;
  if (isIn) book.accepted(token, id);
}

/** A turn of one who pops. Errors as the queue's. */
export async function consume(book: QueueBook, side: Side): Promise<void> {
  const { random, values } = book;
  const { queue, peeked } = side;
  if (peeked !== undefined) return endPeek(book, side, peeked);
  const draw = random.below(8);
  if (draw === 0) return popBatch(book, side);
  if (draw < 3) return popAsync(book, side);
  if (draw === 3) return peek(book, side);
  if (draw === 4 && (queue.size === 0 || book.isMany || !queue.waitForItem(5))) return;
  const target = new Uint8Array(values.stride);
  for (let burst = draw === 5 ? random.between(1, 5) : 1; burst > 0; burst--)
    if (!pop(book, side, draw === 5 ? target : undefined)) return;
}

// Undefined: into an array of its own. Returns whether there was a value.
function pop(book: QueueBook, side: Side, target: Uint8Array | undefined): boolean {
  const token = book.poll(side);
  let found: number | undefined;
  try {
    found = book.passes(() => popped(book, side, target));
  } catch (thrown) {
    book.stage.history.fail(token);
    throw thrown;
  }
  if (found === undefined) book.foundNothing(token, 0);
  else book.polled(token, found);
  sometimes("a queue was empty", found === undefined);
  return found !== undefined;
}

function popped(
  { values }: QueueBook,
  { queue }: Side,
  target: Uint8Array | undefined,
): number | undefined {
  if (target === undefined) {
    const value = queue.pop();
    return value === undefined ? undefined : values.idOf(value);
  }
  const length = queue.popInto(target);
  return length < 0 ? undefined : values.idOf(values.codec.decode(target.slice(0, length)));
}

function popBatch(book: QueueBook, side: Side): void {
  for (const value of book.passes(() => side.queue.popBatch(book.random.between(1, 6))))
    book.polled(book.poll(side), book.values.idOf(value));
}

async function popAsync(book: QueueBook, side: Side): Promise<void> {
  const { random, stage } = book;
  const token = book.poll(side);
  const begunUs = stage.node.kernel.nowUs;
  let value: unknown;
  book.asleep++;
  try {
    // No time at all is a look.
    value = await side.queue.popAsync(random.chance(1, 6) ? 0 : random.spread(1, 400));
  } catch (thrown) {
    stage.history.fail(token);
    throw thrown;
  } finally {
    book.asleep--;
  }
  // Between its last look and here only microtasks ran.
  if (value === undefined) return book.foundNothing(token, 1);
  book.polled(token, book.values.idOf(value));
  sometimes("a sleeper was woken", stage.node.kernel.nowUs > begunUs);
}

function peek(book: QueueBook, side: Side): void {
  const token = book.poll(side);
  let bytes: Uint8Array | undefined;
  try {
    bytes = book.passes(() => side.queue.peek());
  } catch (thrown) {
    book.stage.history.fail(token);
    throw thrown;
  }
  if (bytes === undefined) return book.foundNothing(token, 0);
  const id = book.values.idOf(book.values.codec.decode(bytes.slice()));
  side.peeked = { id, token };
  book.peeking(1);
}

function endPeek(book: QueueBook, side: Side, { id, token }: NonNullable<Side["peeked"]>): void {
  // Else it stays peeked, and whoever comes next may find it again.
  if (book.random.chance(1, 8)) return;
  side.peeked = undefined;
  book.peeking(-1);
  const isConsumed = book.random.chance(1, 2);
  let found: number | undefined = id;
  try {
    if (isConsumed) book.passes(() => side.queue.consume());
    else {
      const value = book.passes(() => side.queue.pop());
      found = value === undefined ? undefined : book.values.idOf(value);
    }
  } catch (thrown) {
    // With many it was taken by the look.
    if (!book.isMany) book.stage.history.fail(token);
    throw thrown;
  }
  if (found !== id) throw new Violation(r1, `saw ${id}, popped ${found}`);
  book.polled(token, id);
}
