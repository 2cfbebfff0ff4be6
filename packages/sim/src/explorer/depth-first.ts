/**
 * Every schedule once, up to the order of steps that do not touch the same place: dynamic partial-order reduction by
 * source sets, with sleep sets (Abdulla, Aronsson, Jonsson and Sagonas, POPL 2014, algorithm 1). Each schedule is run whole; from the races found in it follow the
 * points from which others are tried.
 *
 * D1: of two schedules that differ only in the order of neighbouring independent steps, each thread finds the same
 * values; one is enough. D2: two steps of different threads that touch one place, at least one of them changing it, and
 * that nothing else orders, are a race. Of what came after the earlier step and not because of it, the later step
 * included, something that needs nothing else of it is tried in the earlier step's stead.
 */
import { lowest, type Footprint, type Scheduler } from "./schedule.ts";

interface Node {
  readonly enabled: number;
  thread: number;
  outcome: number;
  outcomes: number;
  /** Threads to be tried here, and those that have been. */
  wanted: number;
  done: number;
  /** Threads whose step here was tried before, elsewhere: nothing has touched what it touches. */
  readonly sleeping: number;
  readonly footprints: (Footprint | undefined)[];
}

interface Place {
  lastWrite: number;
  writer: number;
  readonly lastReads: number[];
  /** What came before the last write, and before it or any read since: steps by thread. */
  writeClock: readonly number[];
  readonly readClock: number[];
}

/** The schedules of an exhaustive exploration. */
export class DepthFirst implements Scheduler {
  readonly #threads: number;
  readonly #nodes: Node[] = [];
  #depth = -1;
  readonly #places = new Map<number, Place>();
  // The first step that differs from the last schedule's.
  #fork = 0;
  // Of this schedule's steps: the last step of every thread that came before it, or is it.
  readonly #steps: { readonly thread: number; readonly clock: readonly number[] }[] = [];
  // Earlier steps that race with the one being made.
  readonly #races: number[] = [];
  // Of each thread: the last step of every thread that came before its next one.
  #clocks: number[][] = [];

  constructor(threads: number) {
    this.#threads = threads;
  }

  begin(): void {
    this.#depth = -1;
    this.#steps.length = 0;
    this.#places.clear();
    this.#clocks = Array.from({ length: this.#threads }, () => this.#none());
  }

  next(enabled: number, current: number): number {
    const depth = this.#depth + 1;
    const known = this.#nodes[depth];
    if (known !== undefined) {
      this.#depth = depth;
      return known.thread;
    }
    const footprints: (Footprint | undefined)[] = [];
    const sleeping = this.#stillAsleep(footprints);
    const awake = enabled & ~sleeping;
    if (awake === 0) return -1;
    const thread = current >= 0 && (awake & (1 << current)) !== 0 ? current : lowest(awake);
    const wanted = 1 << thread;
    this.#nodes.push({
      enabled,
      thread,
      outcome: 0,
      outcomes: 1,
      wanted,
      done: 0,
      sleeping,
      footprints,
    });
    this.#depth = depth;
    return thread;
  }

  choose(count: number): number {
    const node = this.#nodes[this.#depth] as Node;
    node.outcomes = count;
    return node.outcome;
  }

  made(thread: number, footprint: Footprint): void {
    const { places, writes } = footprint;
    const at = this.#depth;
    const clock = this.#clocks[thread] as number[];
    const before = clock.slice();
    this.#races.length = 0;
    for (let index = 0; index < places.length; index++)
      this.#touch(places[index] as number, writes[index] as boolean, thread, at, before);
    this.#steps[at] = { thread, clock: clock.slice() };
    // Those before the point where this schedule leaves the last one were found then.
    if (at >= this.#fork) for (const earlier of this.#races) this.#reverse(earlier, at);
    const node = this.#nodes[at] as Node;
    // Outcome 0 is no death: the step itself, which is made first.
    if (node.outcome === 0 && node.footprints[thread] === undefined)
      node.footprints[thread] = { ...footprint, places: places.slice(), writes: writes.slice() };
  }

  woke(thread: number, waker: number): void {
    const clock = this.#clocks[thread] as number[];
    for (let other = 0; other < this.#threads; other++)
      if (waker === other || waker < 0) join(clock, this.#clocks[other] as number[]);
  }

  end(): boolean {
    const nodes = this.#nodes;
    for (let last = nodes.length - 1; last >= 0; last--) {
      const node = nodes[last] as Node;
      if (node.outcome + 1 < node.outcomes) {
        node.outcome++;
        this.#fork = last;
        return true;
      }
      node.done |= 1 << node.thread;
      const rest = node.wanted & ~node.done & ~node.sleeping;
      if (rest !== 0) {
        node.thread = lowest(rest);
        node.outcome = 0;
        node.outcomes = 1;
        this.#fork = last;
        return true;
      }
      nodes.pop();
    }
    return false;
  }

  #none(): number[] {
    return Array.from({ length: this.#threads }, () => -1);
  }

  // Threads that were asleep, or have been tried, at the node before, and that its step has not woken.
  #stillAsleep(footprints: (Footprint | undefined)[]): number {
    const parent = this.#nodes[this.#depth];
    if (parent === undefined) return 0;
    const made = parent.footprints[parent.thread];
    let asleep = 0;
    for (
      let rest = (parent.sleeping | parent.done) & ~(1 << parent.thread);
      rest !== 0;
      rest &= rest - 1
    ) {
      const thread = lowest(rest);
      const footprint = parent.footprints[thread];
      if (footprint === undefined || made === undefined || meet(footprint, made)) continue;
      asleep |= 1 << thread;
      footprints[thread] = footprint;
    }
    return asleep;
  }

  #touch(
    key: number,
    isWrite: boolean,
    thread: number,
    at: number,
    before: readonly number[],
  ): void {
    let place = this.#places.get(key);
    if (place === undefined) {
      const [lastReads, writeClock, readClock] = [this.#none(), this.#none(), this.#none()];
      place = { lastWrite: -1, writer: -1, lastReads, writeClock, readClock };
      this.#places.set(key, place);
    }
    const { lastWrite, writer, lastReads } = place;
    if (lastWrite >= 0 && writer !== thread && (before[writer] as number) < lastWrite)
      this.#races.push(lastWrite);
    if (isWrite)
      for (let other = 0; other < this.#threads; other++) {
        const read = lastReads[other] as number;
        if (other !== thread && read >= 0 && (before[other] as number) < read)
          this.#races.push(read);
      }
    const clock = this.#clocks[thread] as number[];
    join(clock, place.writeClock);
    if (isWrite) join(clock, place.readClock);
    clock[thread] = at;
    if (isWrite) {
      place.lastWrite = at;
      place.writer = thread;
      place.writeClock = clock.slice();
    } else {
      lastReads[thread] = at;
      join(place.readClock, clock);
    }
  }

  // D2. Nothing is to be done if what would do is tried there anyway.
  #reverse(earlier: number, later: number): void {
    const { thread: first } = this.#steps[earlier] as { thread: number };
    const between: number[] = [];
    let initials = 0;
    let seen = 0;
    for (let at = earlier + 1; at <= later; at++) {
      const step = this.#steps[at];
      if (step === undefined) continue;
      const { thread, clock } = step;
      if (at < later && (clock[first] as number) >= earlier) continue;
      const bit = 1 << thread;
      const needs = (other: number): boolean =>
        (clock[(this.#steps[other] as { thread: number }).thread] as number) >= other;
      if ((seen & bit) === 0 && !between.some(needs)) initials |= bit;
      seen |= bit;
      between.push(at);
    }
    const node = this.#nodes[earlier] as Node;
    initials &= node.enabled;
    if (initials === 0) node.wanted |= node.enabled;
    else if ((initials & node.wanted) === 0) node.wanted |= 1 << lowest(initials);
  }
}

function join(clock: number[], other: readonly number[]): void {
  for (let index = 0; index < clock.length; index++)
    if ((other[index] as number) > (clock[index] as number)) clock[index] = other[index] as number;
}

function meet(one: Footprint, other: Footprint): boolean {
  if (other.places.includes(one.fate ?? NaN) || one.places.includes(other.fate ?? NaN)) return true;
  for (let index = 0; index < one.places.length; index++) {
    const found = other.places.indexOf(one.places[index] as number);
    if (found >= 0 && (one.writes[index] === true || other.writes[found] === true)) return true;
  }
  return false;
}
