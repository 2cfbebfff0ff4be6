/**
 * A diamond of four tasks whose intermediate data lives in leased memory. Nobody cleans up: when the last reader of a
 * piece of data has ended, nobody renews its lease any more, and the bytes go back by themselves.
 */
import { Executor, Fabric, TaskGraph } from "selvage";

const readings = { name: "readings", format: "columns" } as const;
const mean = { name: "mean", format: "columns" } as const;
const station = { name: "station", format: "raw" } as const;

const graph = new TaskGraph();
const extract = graph.addTask({
  name: "extract",
  outputs: [readings],
  retries: 2,
  run(ctx) {
    const shape = { rows: 1_000, columns: { celsius: "float64" } } as const;
    const { celsius } = ctx.allocate("readings", shape);
    for (let row = 0; row < shape.rows; row++) celsius[row] = 20 + Math.sin(row / 100) * 5;
  },
});
const aggregate = graph.addTask({
  name: "aggregate",
  inputs: [readings],
  outputs: [mean],
  run(ctx) {
    const { celsius } = ctx.input<{ celsius: Float64Array }>("readings");
    const sum = celsius.reduce((total, value) => total + value, 0);
    return { mean: { celsius: Float64Array.of(sum / celsius.length) } };
  },
});
const enrich = graph.addTask({
  name: "enrich",
  inputs: [readings],
  outputs: [station],
  run: () => ({ station: new TextEncoder().encode("Oberland 7") }),
});
const load = graph.addTask({
  name: "load",
  inputs: [mean, station],
  run(ctx) {
    const { celsius } = ctx.input<{ celsius: Float64Array }>("mean");
    const name = new TextDecoder().decode(ctx.input("station"));
    console.log(`${name}: ${celsius[0]?.toFixed(2)} °C on average`);
  },
});
graph.addDependency(extract, aggregate);
graph.addDependency(extract, enrich);
graph.addDependency(aggregate, load);
graph.addDependency(enrich, load);

using fabric = Fabric.open({ memoryBytes: 16 * 1024 * 1024 });
const { status, leases, bytes } = await Executor.run(graph.build(), { fabric, ttlMs: 500 });
console.log(`${status}: ${leases.granted} leases granted, ${leases.expired} expired`);
console.log(`every byte is back: ${bytes.returned === bytes.leased}`);

// Oberland 7: 20.92 °C on average
// succeeded: 3 leases granted, 3 expired
// every byte is back: true
