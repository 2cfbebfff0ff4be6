/**
 * MapReduce over 3,000,000 flights: which airports have the most departures, and how late they are.
 *
 *     node --conditions=@selvage/source examples/map-reduce/main.ts [--rows N] [--json] [--report file.html]
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { Executor, Fabric, liveView, RunRecorder, runReport } from "selvage";
import { exampleData } from "../etl/job.ts";
import { buildMapReduce } from "./job.ts";

const { values } = parseArgs({
  options: {
    rows: { type: "string" },
    json: { type: "boolean", default: false },
    report: { type: "string" },
  },
});
const { rows, json, report } = values;
const { plan, airports } = buildMapReduce({
  flights: exampleData().flights,
  ...(rows === undefined ? {} : { rows: Number(rows) }),
  maps: 4,
  reduces: 2,
});

using fabric = Fabric.open({ memoryBytes: 128 << 20 });
using view = liveView({ plan, stream: process.stderr });
const recorder = new RunRecorder();
const result = await Executor.run(plan, {
  fabric,
  ttlMs: 1_000,
  onEvent(event) {
    recorder.onEvent(event);
    view.onEvent(event);
  },
});

const { status, leases, bytes } = result;
if (report !== undefined)
  writeFileSync(report, runReport(plan, recorder, result, { title: "MapReduce over flights" }));
if (json) console.log(JSON.stringify({ status, leases, bytes, airports }));
else {
  for (const { iata, departures, delaySumMin, late } of airports.slice(0, 5))
    console.log(
      `${iata}: ${departures} departures, ${(delaySumMin / departures).toFixed(1)} minutes late on average, ${late} of them by more than 15`,
    );
  console.log(`${status}: ${leases.granted} leases granted, ${leases.expired} expired`);
  console.log(`every byte is back: ${bytes.returned === bytes.leased}`);
}
process.exitCode = status === "succeeded" ? 0 : 1;

// ORD: 166341 departures, 9.3 minutes late on average, 41079 of them by more than 15
// DFW: 157162 departures, 7.7 minutes late on average, 34012 of them by more than 15
// ATL: 124711 departures, 8.8 minutes late on average, 28624 of them by more than 15
// LAX: 115245 departures, 7.4 minutes late on average, 25572 of them by more than 15
// PHX: 93036 departures, 10.0 minutes late on average, 22428 of them by more than 15
// succeeded: 11 leases granted, 11 expired
// every byte is back: true
