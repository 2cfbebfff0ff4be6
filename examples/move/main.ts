/**
 * `main.ts [--ms 1200] [--svg FILE] [--json]`: a stage with state moves to another place while its stream runs. Its checkpoint is taken up
 * there, both of its edges go to new memory, and the instance that stayed behind is refused. What the sink gets, by ten
 * milliseconds, is drawn.
 */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { moveInFlight, type MoveTotals } from "./move.ts";
import { drawDip, sparkline } from "./draw.ts";

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      ms: { type: "string", default: "1200" },
      svg: { type: "string" },
      json: { type: "boolean" },
    },
  });
  const totals = await moveInFlight(Number(values.ms));
  if (values.svg !== undefined) writeFileSync(values.svg, drawDip(totals));
  if (values.json === true) console.log(JSON.stringify(totals));
  else console.log(told(totals));
  if (!totals.isRight) process.exitCode = 1;
}

function told({ items, isRight, stallMs, refused, perBucket, movedAtMs }: MoveTotals): string {
  return [
    sparkline(perBucket),
    `moved after ${movedAtMs.toFixed(0)} ms; the sink waited ${stallMs.toFixed(1)} ms`,
    `${items} items, ${isRight ? "each once and in order" : "WRONG"}; the instance that stayed behind: ${refused}`,
  ].join("\n");
}
