import { Executor, Fabric, type ExecutionEvent } from "selvage";
import { describe, expect, it } from "vitest";
import { buildMapReduce, type AirportDelays } from "../../examples/map-reduce/job.ts";
import { computeExpected, locateData } from "../etl/oracle.ts";

const ROWS = 30_000;
const MEMORY_BYTES = 16 << 20;

/** The oracle's answer, in the job's form. */
async function expected(rows: number): Promise<AirportDelays[]> {
  const { airports } = await computeExpected({ ...locateData(), rows });
  return [...airports.values()].map((airport) => ({
    iata: airport.iata,
    departures: airport.departures,
    delaySumMin: Math.round(airport.mean_delay_min * airport.departures),
    late: airport.late_departures,
  }));
}

const byName = (a: AirportDelays, b: AirportDelays): number => (a.iata < b.iata ? -1 : 1);

describe("MapReduce over flights", { timeout: 120_000 }, () => {
  it.each([
    [1, 1],
    [4, 2],
    [3, 5],
  ])(
    "counts what the oracle counts, with %i mappers and %i reducers, and every byte comes back by expiry",
    async (maps, reduces) => {
      const flights = locateData().parquetPath;
      const { plan, airports } = buildMapReduce({ flights, rows: ROWS, maps, reduces });
      expect(plan.waves().map((wave) => wave.length)).toEqual([1, maps, reduces, 1]);
      using fabric = Fabric.open({ memoryBytes: MEMORY_BYTES });
      const { status, leases, bytes } = await Executor.run(plan, { fabric, ttlMs: 500 });
      expect(status).toBe("succeeded");
      expect(airports.toSorted(byName)).toEqual((await expected(ROWS)).toSorted(byName));
      const granted = 1 + maps * reduces + reduces;
      expect(leases).toMatchObject({ granted, expired: granted, released: 0, active: 0 });
      expect(bytes.returned).toBe(bytes.leased);
      expect(fabric.stats().memory.freeBytes).toBe(MEMORY_BYTES);
    },
  );

  it("lets the flights go once the mappers have ended, while reducers still work on the counts", async () => {
    const flights = locateData().parquetPath;
    const { plan } = buildMapReduce({ flights, rows: ROWS, maps: 2, reduces: 2 });
    const ends: string[] = [];
    const onEvent = (event: ExecutionEvent): void => {
      if (event.type === "lease" && event.event.type === "released") ends.push(event.output);
      if (event.type === "task" && event.newState === "succeeded") ends.push(event.name);
    };
    await Executor.run(plan, { teardown: "eager", onEvent });
    const place = (name: string): number => ends.indexOf(name);
    expect(Math.max(place("map 0"), place("map 1"))).toBeGreaterThanOrEqual(0);
    expect(place("flights")).toBeLessThan(place("reduce 0"));
    expect(place("flights")).toBeLessThan(place("reduce 1"));
  });
});
