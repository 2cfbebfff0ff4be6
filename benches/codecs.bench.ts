/**
 * Question: what does a record of fixed layout cost, against JSON, MessagePack and structured clone?
 *
 * Workload: 256 trades of thirteen fields (eleven numbers and a bool, two short texts), 112 bytes as a record and some
 * 230 as JSON; each side in a process of its own. "in place" writes into a slot of a ring and reads from it, as queues
 * do; "alone" makes an array for each value; "one field" reads a number of a record in a slot.
 * Baseline: JSON by the platform's own coder (`encodeInto` in place), MessagePack by `msgpackCodec`, with its budgets,
 * and `v8.serialize`, which is what structured clone writes. They decode a whole value to read one field.
 * Not measured: long texts and nested values, which a record does not have.
 */
import { childSubject } from "./children.ts";
import { takeTurns } from "./harness.ts";
import { atLeast, type Suite } from "./suite.ts";

const worker = new URL("./codecs-worker.ts", import.meta.url);
const sides = ["record", "JSON", "msgpack", "v8"] as const;

/** Steps, and the ratio to JSON that each is held to; "alone" pays for its array, like the others, and is told only. */
const steps = [
  ["writeTo", "written in place", 3.5],
  ["readFrom", "read in place", 3],
  ["field", "one field read in place", 200],
  ["encode", "encoded alone", undefined],
  ["decode", "decoded alone", undefined],
] as const;

export const codecsSuite: Suite = {
  name: "codecs",
  question:
    "What does a record of fixed layout cost, against JSON, MessagePack and structured clone?",
  async run({ smoke, rounds, progress }) {
    const ops = smoke ? "512" : "20480";
    const samples = await takeTurns(
      sides.map((side) => childSubject(side, worker, [side, ops])),
      { rounds: smoke ? 2 : (rounds ?? 31), warmups: smoke ? 0 : 5, progress },
    );
    return steps.map(([step, name, floor]) => {
      samples.expectEqual(step, sides);
      const ratio = samples.median("JSON", step) / samples.median("record", step);
      return samples.result({
        suite: "codecs",
        name: `a trade of 13 fields, ${name}`,
        subject: "record",
        step,
        peers: {
          JSON: ["JSON", step],
          MessagePack: ["msgpack", step],
          "v8.serialize": ["v8", step],
        },
        targets: floor === undefined ? [] : [atLeast("JSON", ratio, floor)],
      });
    });
  },
};
