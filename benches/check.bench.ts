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
      const checkNs = samples.median("checked", step) - samples.median("unchecked", step);
      return samples.result({
        suite: "check",
        name: `${step}, 64 bytes`,
        subject: "checked",
        step,
        peers: { unchecked: ["unchecked", step], "typed array": ["array", step] },
        targets: [atMost(`check of ${checkNs.toFixed(2)} ns`, checkNs, 1)],
      });
    });
  },
};
