/**
 * Question: what does the check on every read and write of a memory lease cost?
 *
 * Workload: 64 bytes at 1,024 offsets in turn of one 64 KiB lease; each side in a process of its own. "unchecked" is
 * the very same code with `check` emptied; the difference is what the lease check costs. An operation checks twice,
 * before and after.
 * Baseline: a bare typed array over the same kind of memory, as a program without leases would use it: `slice`,
 * `set` of a `subarray`, `set`.
 * Not measured: other lengths; the clock word's line being written by the keeper more often than once in 10 ms.
 */
import { childSubject } from "./children.ts";
import { takeTurns } from "./harness.ts";
import { quantile } from "./statistics.ts";
import { atMost, type Suite } from "./suite.ts";

const worker = new URL("./check-worker.ts", import.meta.url);

export const checkSuite: Suite = {
  name: "check",
  question: "What does the check on every read and write cost?",
  async run({ smoke, rounds, progress }) {
    const ops = smoke ? "2000" : "100000";
    const sides = ["checked", "unchecked", "array"] as const;
    const samples = await takeTurns(
      sides.map((side) => childSubject(side, worker, [side, ops])),
      { rounds: smoke ? 2 : (rounds ?? 101), warmups: smoke ? 0 : 10, progress },
    );
    return (["read", "readInto", "write"] as const).map((step) => {
      samples.expectEqual(step, sides);
      // By rounds: the two sides of a round ran in the same weather.
      const unchecked = samples.of("unchecked", step);
      const checks = samples.of("checked", step).map((ns, round) => ns - (unchecked[round] ?? ns));
      const [low, middle, high] = [0.25, 0.5, 0.75].map((q) => quantile(checks, q).toFixed(2));
      return samples.result({
        suite: "check",
        name: `${step}, 64 bytes`,
        subject: "checked",
        step,
        peers: { unchecked: ["unchecked", step], "typed array": ["array", step] },
        targets: [atMost(`check of ${middle} ns (quartiles ${low}, ${high})`, Number(middle), 1)],
      });
    });
  },
};
