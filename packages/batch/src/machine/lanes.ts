/**
 * Runs the bodies that a machine starts, on the calling thread. A body that gives no promise costs none: the next one
 * starts at once. A promise is waited for by a lane, which is used again: there are as many as bodies at a time.
 */
import type { RunMachine, RunStep } from "./run-machine.ts";

/** What runs in lanes. */
export interface LaneBodies {
  /** Runs a task's body, and gives its result, or a promise of it. What it throws, `failed` gets. */
  start(task: number, epoch: number): unknown;
  /** A body has ended. It may be one whose epoch is over. */
  done(task: number, epoch: number, result: unknown): void;
  failed(task: number, epoch: number, error: unknown): void;
  /** Another step of the machine. */
  step(step: RunStep): void;
  /** Any of these but `start` threw: nothing is started any more. */
  broke(thrown: unknown): void;
}

interface Lane {
  task: number;
  epoch: number;
  readonly done: (result: unknown) => void;
  readonly failed: (error: unknown) => void;
}

/** The lanes of one run. */
export class Lanes {
  readonly #machine: RunMachine;
  readonly #bodies: LaneBodies;
  readonly #idle: Lane[] = [];
  #isPumping = false;

  constructor(machine: RunMachine, bodies: LaneBodies) {
    this.#machine = machine;
    this.#bodies = bodies;
  }

  /** Does what the machine wants done, until it wants nothing. */
  pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    const machine = this.#machine;
    try {
      for (let step = machine.next(); step !== "idle"; step = machine.next())
        if (step === "start") this.#start(machine.task);
        else this.#bodies.step(step);
    } catch (thrown) {
      this.#bodies.broke(thrown);
      return;
    }
    this.#isPumping = false;
  }

  #start(task: number): void {
    const bodies = this.#bodies;
    const epoch = this.#machine.epochOf(task);
    let result: unknown;
    try {
      result = bodies.start(task, epoch);
      if (isThenable(result)) {
        // Whatever kind of promise it is, it ends once.
        const lane = this.#lane(task, epoch);
        void Promise.resolve(result).then(lane.done, lane.failed);
        return;
      }
    } catch (error) {
      bodies.failed(task, epoch, error);
      return;
    }
    bodies.done(task, epoch, result);
  }

  #lane(task: number, epoch: number): Lane {
    const lane = this.#idle.pop() ?? this.#open();
    lane.task = task;
    lane.epoch = epoch;
    return lane;
  }

  #open(): Lane {
    const lane: Lane = {
      task: -1,
      epoch: 0,
      done: (result) => {
        const { task, epoch } = lane;
        this.#idle.push(lane);
        try {
          this.#bodies.done(task, epoch, result);
        } catch (thrown) {
          this.#bodies.broke(thrown);
        }
        this.pump();
      },
      failed: (error) => {
        const { task, epoch } = lane;
        this.#idle.push(lane);
        try {
          this.#bodies.failed(task, epoch, error);
        } catch (thrown) {
          this.#bodies.broke(thrown);
        }
        this.pump();
      },
    };
    return lane;
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof (value as { then?: unknown }).then === "function"
  );
}
