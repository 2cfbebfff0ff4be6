/** What the jobs campaign holds its runs to, under the numbers of the invariants. */

export const ends = "B1: every accepted job ends, once, and nothing that waits for another hangs";
export const kept =
  "B1: what was acknowledged is there, and counts are those of the jobs that are there";
export const cascades = "B1: what waits for a job is told of its end in the same transaction";
export const once = "B2: a job has one result at most, which the claim that stands has brought";
export const fed = "B2: a job runs once all that it waits for is complete, with those results";
export const fenced =
  "B2: an epoch rises with every claim and every loss, and no two bodies have the same";
export const bounded =
  "B3: an attempt is counted before its body begins, and each but the first is a retry";
export const poisoned = "B3: a job that ends its process each time ends as a dead letter";
export const own = "B4: no process gives up a worker of its own, and of two that do one proceeds";
export const within =
  "B4: no job has two bodies with live claims, nor a task more of them than it may";
export const unique =
  "B4: a key has one unfinished job, and what is paused or expired is not begun";
export const robbed = "B5: a worker that says that it is alive keeps its claims";
export const freed = "B5: a dead worker's jobs are free within its TTL and two ticks";

/** All of them. */
export const rules: readonly string[] = [
  ends,
  kept,
  cascades,
  once,
  fed,
  fenced,
  bounded,
  poisoned,
  own,
  within,
  unique,
  robbed,
  freed,
];
