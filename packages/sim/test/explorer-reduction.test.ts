/** That leaving schedules out leaves no outcome out: against a scheduler that leaves out none. */
import { describe, expect, it } from "vitest";
import { DepthFirst } from "../src/explorer/depth-first.ts";
import { Execution, type Program } from "../src/explorer/execution.ts";
import {
  lowest,
  parseSchedule,
  PctScheduler,
  replaying,
  scheduleText,
  type Scheduler,
} from "../src/explorer/schedule.ts";
import type { PlainReads } from "../src/explorer/weak-words.ts";
import { RandomStream } from "../src/random.ts";

/** Every choice there is, one after the other. */
function unreduced(): Scheduler {
  const choices: { at: number; readonly count: number }[] = [];
  let depth = 0;
  const choose = (count: number): number => {
    const known = choices[depth++];
    if (known !== undefined) return known.at;
    choices.push({ at: 0, count });
    return 0;
  };
  return {
    begin: () => void (depth = 0),
    next: (enabled) => {
      const threads: number[] = [];
      for (let rest = enabled; rest !== 0; rest &= rest - 1) threads.push(lowest(rest));
      return threads[choose(threads.length)] as number;
    },
    choose,
    made: () => {},
    woke: () => {},
    end: () => {
      for (let last = choices.pop(); last !== undefined; last = choices.pop()) {
        if (last.at + 1 >= last.count) continue;
        choices.push({ at: last.at + 1, count: last.count });
        return true;
      }
      return false;
    },
  };
}

const kinds = [
  "load",
  "store",
  "add",
  "exchange",
  "swap",
  "read",
  "write",
  "wait",
  "wake",
] as const;

/** A program of random accesses to two words. */
function randomProgram(seed: string, threads: number, length: number): Program<unknown> {
  const random = new RandomStream(seed, "programs");
  const plainReads = random.pick<PlainReads>(["newest", "coherent", "weak"]);
  const bodies = Array.from({ length: threads }, () =>
    Array.from(
      { length },
      () => [random.pick(kinds), random.below(2) * 3, random.below(2)] as const,
    ),
  );
  return {
    plainReads,
    mayDie: random.chance(1, 3) ? [0] : [],
    setUp: (memory) => memory.reserve(32, { shared: true }).handle,
    threads: bodies.map((body) => (handle, host) => {
      const { words, plain } = host.memory.attach(handle as SharedArrayBuffer, 32);
      const acts = {
        load: (at: number) => words.load(at),
        store: (at: number, value: number) => words.store(at, value + 1),
        add: (at: number) => words.add(at, 1),
        exchange: (at: number, value: number) => words.exchange(at, value),
        swap: (at: number, value: number) => words.compareExchange(at, value, value + 5),
        read: (at: number) => plain[at],
        write: (at: number, value: number) => void (plain[at] = value + 7),
        wait: (at: number, value: number) => words.wait(at, value, 10),
        wake: (at: number) => words.wake(at),
      };
      return () => {
        for (const [kind, at, value] of body) host.note(acts[kind](at, value));
        if (host.thread === 1) host.note(host.hasDied(0));
      };
    }),
  };
}

function outcomesOf(program: Program<unknown>, scheduler: Scheduler): [Set<string>, number] {
  const seen = new Set<string>();
  const execution = new Execution<unknown>({
    ...program,
    check: ({ threads, host, shared }) => {
      const { words } = host.memory.attach(shared as SharedArrayBuffer, 32);
      seen.add(JSON.stringify([threads, words.load(0), words.load(3)]));
      return undefined;
    },
  });
  for (let runs = 1; ; runs++) {
    const { message } = execution.run(scheduler);
    expect(message).toBeUndefined();
    if (!scheduler.end()) return [seen, runs];
  }
}

describe("D1: the schedules that are left out", () => {
  it.each([
    [2, 4, 40],
    [3, 2, 40],
    [4, 1, 40],
  ])("of %i threads with %i accesses each come to nothing new", (threads, length, programs) => {
    let [all, some] = [0, 0];
    for (let index = 0; index < programs; index++) {
      const program = randomProgram(`${threads}/${index}`, threads, length);
      const [every, everyRuns] = outcomesOf(program, unreduced());
      const [reduced, runs] = outcomesOf(program, new DepthFirst(threads));
      expect([...reduced].toSorted(), `program ${index}`).toEqual([...every].toSorted());
      all += everyRuns;
      some += runs;
    }
    expect(some).toBeLessThan(all / 2);
  });

  it("nor does chance find more", () => {
    for (let index = 0; index < 20; index++) {
      const program = randomProgram(`pct/${index}`, 2, 4);
      const [every] = outcomesOf(program, new DepthFirst(2));
      const random = new RandomStream(`${index}`, "pct");
      const options = { depth: 3, schedules: 200, mayDie: program.mayDie ?? [] };
      const [some] = outcomesOf(program, new PctScheduler(random, 2, options));
      for (const outcome of some) expect(every).toContain(outcome);
    }
  });
});

describe("a schedule's text", () => {
  it("is read as it was written", () => {
    const random = new RandomStream("1", "texts");
    for (let index = 0; index < 200; index++) {
      const steps = Array.from(
        { length: random.below(12) },
        () => [random.below(3), random.between(-1, 1)] as const,
      );
      expect(parseSchedule(scheduleText(steps))).toEqual(steps);
    }
    expect(
      scheduleText([
        [0, 0],
        [0, 0],
        [1, 2],
        [1, 0],
        [0, -1],
      ]),
    ).toBe("0x2,1:2,1x1,0!");
  });

  it("replays a schedule to the same end", () => {
    for (let index = 0; index < 30; index++) {
      const execution = new Execution<unknown>(randomProgram(`replay/${index}`, 3, 3));
      const random = new RandomStream(`${index}`, "replay");
      execution.run(new PctScheduler(random, 3, { depth: 3, schedules: 1, mayDie: [0] }));
      const made = [...execution.madeBy];
      const text = scheduleText(
        made.map((thread, at) => [thread, execution.outcomes[at] as number]),
      );
      execution.run(replaying(text));
      expect(execution.madeBy).toEqual(made);
    }
  });
});
