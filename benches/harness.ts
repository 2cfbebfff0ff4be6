/**
 * Comparative measurements: subjects take turns within a round, so that drift in the machine falls on all of them
 * alike, and the order turns round by round. A sample is the time of a batch by its operations; what is told is the
 * median over rounds, its spread, and the ratio to each peer with bootstrap bounds.
 */
import { Bench } from "tinybench";
import { median, quantile, ratioBounds } from "./statistics.ts";

/** How much is measured. */
export interface Effort {
  /** Every case small, once: only what it computes is looked at. */
  readonly smoke: boolean;
  /** Rounds, where the caller of the command asked for a number. */
  readonly rounds: number | undefined;
  /** Where curves are written. */
  readonly out: string;
  /** Says what is going on. */
  readonly progress: (line: string) => void;
  /** What the queue suite was asked for. */
  readonly queue?: QueueEffort;
}

/** The queue suite's own options. */
export interface QueueEffort {
  /** Message sizes, in bytes. */
  readonly sizes?: readonly number[];
  readonly capacity?: number;
  readonly codec?: string;
  readonly threads?: readonly (1 | 2)[];
  /** How long the whole suite may take, about. */
  readonly seconds?: number;
  /** An earlier run's document, to compare with. */
  readonly compare?: string;
}

/** One measured step of a turn. */
export interface Step {
  readonly ns: number;
  readonly ops: number;
  /** What the work came to: neither V8 nor a later edit can drop it, and every round must come to the same. */
  readonly checksum: number;
}

/** One subject's turn: a step or several, by name. */
export type Turn = Readonly<Record<string, Step>>;

/** Whoever takes turns. */
export interface Subject {
  readonly name: string;
  turn(): Turn | Promise<Turn>;
  /** Ends what the subject holds. */
  close?(): void | Promise<void>;
}

/** One line of the table. */
export interface Result {
  readonly suite: string;
  readonly name: string;
  readonly subject: string;
  readonly unit: string;
  /** The median over rounds; also given as `nsPerOp` where the unit is that. */
  readonly value: number;
  readonly nsPerOp?: number;
  readonly p10: number;
  readonly p90: number;
  readonly rounds: number;
  readonly opsPerRound: number;
  readonly checksum: number;
  /** Peer's cost by ours: above 1, we are faster. */
  readonly ratios: Readonly<Record<string, number>>;
  /** 95 % bounds of each ratio. */
  readonly bounds: Readonly<Record<string, readonly [number, number]>>;
  readonly targets: readonly Target[];
  /** Where a suite measures one subject in several ways: what the table calls this one. */
  readonly label?: string;
  /** Of messages, in bytes. */
  readonly size?: number;
  readonly threads?: number;
  readonly opsPerSecond?: number;
  /** From the sender's call to the receiver's return, for single messages; null where it was not measured. */
  readonly p50Us?: number | null;
  readonly p99Us?: number | null;
}

/** What a figure is held against, and how it came out. */
export interface Target {
  readonly what: string;
  readonly isMet: boolean;
}

/** The samples of each subject's steps, by round. */
export class Samples {
  readonly #nsPerOp = new Map<string, number[]>();
  readonly #steps = new Map<string, Step>();

  add(subject: string, step: string, measured: Step): void {
    const key = `${subject}\0${step}`;
    const samples = this.#nsPerOp.get(key) ?? [];
    this.#nsPerOp.set(key, samples);
    samples.push(measured.ns / measured.ops);
    const { checksum } = this.#steps.get(key) ?? measured;
    if (checksum !== measured.checksum)
      throw new Error(`${subject}, ${step}: came to ${checksum}, then to ${measured.checksum}`);
    this.#steps.set(key, measured);
  }

  of(subject: string, step: string): readonly number[] {
    return this.#nsPerOp.get(`${subject}\0${step}`) ?? [];
  }

  /** The median of a step. */
  median(subject: string, step: string): number {
    return median(this.of(subject, step));
  }

  last(subject: string, step: string): Step {
    const found = this.#steps.get(`${subject}\0${step}`);
    if (found === undefined) throw new Error(`${subject} has no step ${step}`);
    return found;
  }

  /** Throws unless all these subjects' steps came to the same. */
  expectEqual(step: string, subjects: readonly string[]): void {
    this.expectSame(subjects.map((subject) => [subject, step]));
  }

  /** As {@link expectEqual}, where each subject's step has a name of its own. */
  expectSame(steps: readonly (readonly [subject: string, step: string])[]): void {
    const sums = steps.map(([subject, step]) => this.last(subject, step).checksum);
    if (new Set(sums).size > 1)
      throw new Error(
        `the subjects disagree: ${steps.map((step) => step.join(" ")).join(", ")} came to ${sums.join(", ")}`,
      );
  }

  /** The line of one subject's step, held against peers' steps. */
  result(row: {
    readonly suite: string;
    readonly name: string;
    readonly subject: string;
    readonly step: string;
    readonly peers?: Readonly<Record<string, readonly [subject: string, step: string]>>;
    readonly targets?: readonly Target[];
  }): Result {
    const { suite, name, subject, step, peers = {}, targets = [] } = row;
    const ours = this.of(subject, step);
    const { ops, checksum } = this.last(subject, step);
    const ratios: Record<string, number> = {};
    const bounds: Record<string, readonly [number, number]> = {};
    for (const [peer, [of, at]] of Object.entries(peers)) {
      ratios[peer] = this.median(of, at) / median(ours);
      bounds[peer] = ratioBounds(ours, this.of(of, at));
    }
    return {
      suite,
      name,
      subject,
      unit: "ns/op",
      value: median(ours),
      nsPerOp: median(ours),
      p10: quantile(ours, 0.1),
      p90: quantile(ours, 0.9),
      rounds: ours.length,
      opsPerRound: ops,
      checksum,
      ratios,
      bounds,
      targets,
    };
  }
}

/** Lets the subjects take turns for `rounds` rounds, after `warmups` that count for nothing, and closes them. */
export async function takeTurns(
  subjects: readonly Subject[],
  plan: {
    readonly rounds: number;
    readonly warmups: number;
    readonly progress: Effort["progress"];
  },
): Promise<Samples> {
  const samples = new Samples();
  try {
    for (let round = -plan.warmups; round < plan.rounds; round++) {
      plan.progress(round < 0 ? "warming up" : `round ${round + 1} of ${plan.rounds}`);
      for (let turn = 0; turn < subjects.length; turn++) {
        const at = (round + plan.warmups + turn) % subjects.length;
        const subject = subjects[at] as Subject;
        const taken = await subject.turn();
        if (round < 0) continue;
        for (const [step, measured] of Object.entries(taken))
          samples.add(subject.name, step, measured);
      }
    }
  } finally {
    for (const subject of subjects) await subject.close?.();
  }
  return samples;
}

/** Times one batch. */
export function timed(ops: number, run: (ops: number) => number): Step {
  const begin = process.hrtime.bigint();
  const checksum = run(ops);
  return { ns: Number(process.hrtime.bigint() - begin), ops, checksum };
}

/** A subject of one step whose operations are too short to be timed one by one. */
export function batched(name: string, ops: number, run: (ops: number) => number): Subject {
  return { name, turn: () => ({ op: timed(ops, run) }) };
}

/**
 * A subject of one step whose operation takes over a microsecond: tinybench times each one, and the sample is the
 * median of a turn's. `run` returns its checksum, the same at each call.
 */
export function timedSingly<T extends number | Promise<number>>(
  name: string,
  iterations: number,
  run: () => T,
  isAsync = false,
): Subject {
  return {
    name,
    async turn() {
      let checksum: number | undefined;
      const bench = new Bench({ time: 0, iterations, warmup: false, throws: true });
      const note = (sum: number): void => {
        if (checksum !== undefined && checksum !== sum)
          throw new Error(`${name}: came to ${checksum}, then to ${sum}`);
        checksum = sum;
      };
      const once = (): void | Promise<void> => {
        const sum = run();
        return typeof sum === "number" ? note(sum) : sum.then(note);
      };
      // Told, because tinybench finds out by an extra call, which nothing waits for.
      bench.add(name, once, { async: isAsync });
      const [task] = await bench.run();
      const result = task?.result;
      if (result === undefined || !("latency" in result))
        throw new Error(`${name}: tinybench has no result`);
      return { op: { ns: result.latency.p50 * 1e6, ops: 1, checksum: checksum ?? Number.NaN } };
    },
  };
}
