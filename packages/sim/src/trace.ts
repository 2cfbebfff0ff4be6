/** What happened in a run, in order: what checks look at, what a report shows, and what two runs are compared by. */

/** A detail of an occurrence. Plain and small: it is hashed. */
export type Detail = string | number | boolean | undefined;

/** One thing that happened. */
export interface Occurrence {
  /** Its place in the run, from 0. */
  readonly seq: number;
  /** Virtual time since the run began, in milliseconds. */
  readonly atMs: number;
  /** Where: a node's name, or `"world"`. */
  readonly node: string;
  /** What, as `subject.verb`: `"lease.granted"`, `"fault.pause"`, `"message.dropped"`. */
  readonly kind: string;
  readonly details: Readonly<Record<string, Detail>>;
}

/** A message came to where it was sent. */
export interface Arrival {
  /** Comes before the occurrence that has this place in the run. */
  readonly before: number;
  readonly atMs: number;
  readonly from: string;
  readonly to: string;
}
