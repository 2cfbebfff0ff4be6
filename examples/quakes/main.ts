/**
 * `main.ts [--kill parse:3]... [--expire-every MS] [--json]`: a feed through stages on threads of their own. Threads are ended while they
 * work, leases end while they are needed, and the table has every row once.
 */
import { parseArgs } from "node:util";
import { runQuakes, type QuakeTotals } from "./run.ts";

function each(counts: Readonly<Record<string, number | undefined>>): string {
  const counted = Object.entries(counts).map(([name, count]) => `${name} ${count}`);
  return counted.join(", ") || "none";
}

function told({ status, rows, isRight, kills, stages, edges }: QuakeTotals): string {
  return [
    `${status}: ${rows} rows stored, ${isRight ? "each once and in order" : "WRONG"}`,
    `threads ended: ${each(kills)}`,
    ...stages.map(
      ({ name, calls, leftOut, restarts }) =>
        `stage ${name}: ${calls} calls, ${leftOut} left out, ${restarts} restarts`,
    ),
    ...edges.map(
      ({ name, relocations, rebinds, replayed, dropped }) =>
        `edge ${name}: relocations: ${each(relocations)}; ${rebinds} rebinds, ${replayed} replayed, ${dropped} dropped as seen`,
    ),
  ].join("\n");
}

const { values } = parseArgs({
  options: {
    kill: { type: "string", multiple: true, default: [] },
    "expire-every": { type: "string" },
    json: { type: "boolean" },
  },
});
const kills = new Map(
  values.kill.map((text) => {
    const [stage = "", times = "1"] = text.split(":");
    return [stage, Number(times)] as const;
  }),
);
const every = values["expire-every"];
const totals = await runQuakes({
  kills,
  ...(every === undefined ? {} : { expireEveryMs: Number(every) }),
});
console.log(values.json === true ? JSON.stringify(totals) : told(totals));
if (totals.status !== "succeeded" || !totals.isRight) process.exitCode = 1;
