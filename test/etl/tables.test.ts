import { existsSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { loadDatabase, partialOf, type Delays } from "../../examples/etl/load.ts";
import { compareDatabase } from "./compare.ts";
import { computeExpected, locateData } from "./oracle.ts";
import { dump, Folder, FLIGHTS, ROWS, runJson } from "./rig.ts";

const sliceRows = 200_000;
const quick = ["--ttl-ms", "1000"];

const expected = (rows: number): ReturnType<typeof computeExpected> =>
  computeExpected({ ...locateData(), rows });

describe("the tables of the main job", { timeout: 120_000 }, () => {
  it("are right to the row for the first 200,000 flights", async () => {
    using folder = new Folder();
    const out = folder.at("out");
    const { code, document } = await runJson("--rows", String(sliceRows), "--out", out, ...quick);
    expect([code, document.status, document.rows.read]).toEqual([0, "succeeded", sliceRows]);
    expect(document.output.path).toBe(folder.at("out", "flights.sqlite"));
    const differences = compareDatabase(
      folder.at("out", "flights.sqlite"),
      await expected(sliceRows),
    );
    expect(differences).toEqual([]);
    expect(folder.names("out")).toEqual(["flights.sqlite", "report.html", "timeline.svg"]);
  });

  it("are the same whatever the teardown and the TTL are", async () => {
    using folder = new Folder();
    const ways = [
      ["--teardown", "eager", "--ttl-ms", "60000"],
      ["--teardown", "expiry", "--ttl-ms", "700"],
      ["--teardown", "expiry", "--ttl-ms", "1300"],
    ];
    const runs = ways.map((way, at) =>
      runJson("--rows", String(ROWS), "--out", folder.at(String(at)), ...way),
    );
    // All of them end before the folder goes, whatever one of them gives.
    const codes = (await Promise.all(runs)).map(({ code }) => code);
    expect(codes).toEqual(ways.map(() => 0));
    const [first, ...others] = ways.map((_, at) => dump(folder.at(String(at), "flights.sqlite")));
    expect(compareDatabase(folder.at("0", "flights.sqlite"), await expected(ROWS))).toEqual([]);
    for (const other of others) expect(other).toEqual(first);
  });

  it("are replaced by a second run into the same folder, and gone after a third that fails", async () => {
    using folder = new Folder();
    const database = folder.at("flights.sqlite");
    const run = (rows: number, ...args: string[]): ReturnType<typeof runJson> =>
      runJson("--rows", String(rows), "--out", folder.path, ...quick, ...args);
    await run(50_000);
    await run(ROWS);
    expect(compareDatabase(database, await expected(ROWS))).toEqual([]);
    // As a run leaves it that is killed while it writes.
    writeFileSync(folder.at("flights.sqlite.partial"), "half-written");
    const { code } = await run(ROWS, "--fail", "extract");
    expect(code).toBe(1);
    expect(folder.names()).toEqual([]);
  });

  it("have the rows that --rows names, and all of them where it names more than there are", async () => {
    using folder = new Folder();
    const { document } = await runJson("--rows", "1", "--out", folder.path, ...quick);
    expect(document.rows.read).toBe(1);
    const database = folder.at("flights.sqlite");
    expect(compareDatabase(database, await expected(1))).toEqual([]);
    expect(FLIGHTS).toBe(locateData().parquetPath);
  });
});

/** One flight from AAA to AAB. `whileWriting` is called once the airports are written, before the routes. */
function delays(whileWriting: () => void): Delays {
  const origin = Uint16Array.of(0);
  const destination = Uint16Array.of(1);
  const sums = { delaySum: Float64Array.of(3), late: Int32Array.of(0) };
  const flights = Int32Array.of(1);
  return {
    origins: { origin, departures: flights, ...sums },
    get routes() {
      whileWriting();
      return { origin, destination, flights, ...sums, distance: Int32Array.of(9) };
    },
    places: [],
    greatCircles: { origin, destination, miles: Float64Array.of(Number.NaN) },
  };
}

describe("loadDatabase()", () => {
  it("gives the database its name only when it is whole", () => {
    using folder = new Folder();
    const file = folder.at("delays.sqlite");
    const seen: boolean[] = [];
    loadDatabase(
      file,
      delays(() => void seen.push(existsSync(file), existsSync(partialOf(file)))),
    );
    expect(seen).toEqual([false, true]);
    expect(folder.names()).toEqual(["delays.sqlite"]);
    expect(dump(file)).toEqual([
      [expect.objectContaining({ iata: "AAA", name: null, mean_delay_min: 3 })],
      [expect.objectContaining({ destination: "AAB", great_circle_miles: null })],
    ]);
  });

  it("leaves nothing when it fails half-way", () => {
    using folder = new Folder();
    const fault = new Error("half-way");
    const load = (): void =>
      loadDatabase(
        folder.at("delays.sqlite"),
        delays(() => {
          throw fault;
        }),
      );
    expect(load).toThrow(fault);
    expect(folder.names()).toEqual([]);
  });
});
