/** Arguments that are made of the results of other jobs. */
import { invalidArgument } from "@selvage/fabric";

/** A job whose result has the type `R`, as far as `from` needs it. */
export interface ResultOf<R> {
  readonly id: string;
  /** Never called: it carries the type. */
  readonly result: (...options: never[]) => Promise<R>;
}

/** Makes one value of several results. */
export type Combine = (...results: never[]) => unknown;

/** Stands for an argument that is not known yet. Made by {@link from}. */
export class From<T> {
  /** No property: it carries the type. */
  declare readonly carries: T;
  readonly jobs: readonly string[];
  /** Undefined: the one job's result, or the list of all. */
  readonly combine: Combine | string | undefined;
  readonly isList: boolean;

  constructor(jobs: readonly string[], isList: boolean, combine: Combine | string | undefined) {
    this.jobs = jobs;
    this.isList = isList;
    this.combine = combine;
  }
}

/** The results of jobs, in their order. */
export type ResultsOf<J extends readonly ResultOf<unknown>[]> = {
  -readonly [K in keyof J]: J[K] extends ResultOf<infer R> ? R : never;
};

/** Arguments, each one as it is or made of results. */
export type Given<A extends readonly unknown[]> = { [K in keyof A]: A[K] | From<A[K]> };

/**
 * An argument that another job's result will be. The new job depends on that job.
 * @throws FabricError `INVALID_ARGUMENT`.
 */
export function from<R>(job: ResultOf<R>): From<R>;
/** An argument that is the list of several jobs' results, in this order. */
export function from<const J extends readonly ResultOf<unknown>[]>(jobs: J): From<ResultsOf<J>>;
/**
 * An argument that `combine` makes of several jobs' results, given in this order. It is called by the worker: a process that has not
 * seen the function needs it by its name, by `JobQueue.combiner`.
 */
export function from<const J extends readonly ResultOf<unknown>[], C>(
  jobs: J,
  combine: ((...results: ResultsOf<J>) => C) | Combiner<C>,
): From<Awaited<C>>;
export function from(
  given: ResultOf<unknown> | readonly ResultOf<unknown>[],
  combine?: Combine | Combiner<unknown>,
): From<unknown> {
  const isList = Array.isArray(given);
  const jobs = (isList ? given : [given]) as readonly ResultOf<unknown>[];
  for (const job of jobs)
    if (typeof job?.id !== "string")
      throw invalidArgument("from", "a job, or an array of jobs", job);
  if (combine !== undefined && typeof combine !== "function" && !(combine instanceof Combiner))
    throw invalidArgument("combine", "a function, or what JobQueue.combiner returned", combine);
  const named = combine instanceof Combiner ? combine.name : combine;
  return new From(
    jobs.map(({ id }) => id),
    isList,
    named,
  );
}

/** A function that worker processes know by its name. Made by `JobQueue.combiner`. */
export class Combiner<C> {
  /** No property: it carries the type. */
  declare readonly carries: C;
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}
