// Runs the main job on all its rows, and MapReduce over the same ones, as a user would, and compares what they printed and
// wrote with the oracle's answer.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compareDatabase } from "../../test/etl/compare.ts";
import { computeExpected, locateData, type Expected } from "../../test/etl/oracle.ts";
import { command } from "../command.ts";
import { report, type Finding } from "../findings.ts";

const JOB = "examples/etl/main.ts";
const MAP_REDUCE = "examples/map-reduce/main.ts";
const JOB_MS_MAX = 180_000;
const DIFFERENCES_MAX = 20;
const ROWS = 3_000_000;

/** What of the document must be so. What depends on the machine is looked at in {@link ledgerFindings}. */
const WANTED = {
  status: "succeeded",
  waves: [["extract"], ["aggregate", "enrich"], ["load"]],
  succeeded: 4,
  failed: 0,
  skipped: 0,
  cancelled: 0,
  timedOut: 0,
  rows: { read: ROWS },
};

interface Ledger {
  readonly leases: Readonly<Record<string, number>>;
  readonly bytes: Readonly<Record<string, number>>;
  readonly renewals: number;
}

interface MapReduced extends Omit<Ledger, "renewals"> {
  readonly airports: readonly {
    readonly iata: string;
    readonly departures: number;
    readonly delaySumMin: number;
    readonly late: number;
  }[];
}

const wrong = (message: string): Finding => ({ file: JOB, message });

function fieldFindings(document: Readonly<Record<string, unknown>>, database: string): Finding[] {
  const wanted = { ...WANTED, output: { path: database } };
  return Object.entries(wanted).flatMap(([name, value]) => {
    const [want, got] = [JSON.stringify(value), JSON.stringify(document[name])];
    return want === got ? [] : [wrong(`${name}: want ${want}, got ${got}`)];
  });
}

/** Every lease of the run has expired, and every byte is back. */
function ledgerFindings({ leases, bytes, renewals }: Ledger): Finding[] {
  const { granted = 0, expired, released, revoked, fenced, active } = leases;
  const isExpired =
    granted >= 5 &&
    expired === granted &&
    [released, revoked, fenced, active].every((n) => n === 0);
  const { leased = 0, returned, kept, fenced: lost, active: out } = bytes;
  const isBack =
    leased >= 12 * ROWS && returned === leased && [kept, lost, out].every((n) => n === 0);
  return [
    ...(isExpired ? [] : [wrong(`leases: ${JSON.stringify(leases)}`)]),
    ...(isBack ? [] : [wrong(`bytes: ${JSON.stringify(bytes)}`)]),
    ...(renewals > 0 ? [] : [wrong(`renewals: ${renewals}`)]),
  ];
}

/** Every airport's counts, and no lease and no byte that stands. */
async function mapReduceFindings(expected: Promise<Expected>): Promise<Finding[]> {
  const line = ["node", "--conditions=@selvage/source", MAP_REDUCE, "--json"] as const;
  const { code, stdout, output } = await command(line, { timeoutMs: JOB_MS_MAX });
  const wrongly = (message: string): Finding => ({ file: MAP_REDUCE, message });
  if (code !== 0) return [wrongly(`ends with code ${code}:\n${output}`)];
  const { leases, bytes, airports } = JSON.parse(stdout) as MapReduced;
  const wanted = [...(await expected).airports.values()].map((airport) =>
    [
      airport.iata,
      airport.departures,
      Math.round(airport.mean_delay_min * airport.departures),
      airport.late_departures,
    ].join(" "),
  );
  const got = airports.map(({ iata, departures, delaySumMin, late }) =>
    [iata, departures, delaySumMin, late].join(" "),
  );
  const differences = new Set(wanted).symmetricDifference(new Set(got));
  const isBack =
    leases["expired"] === leases["granted"] &&
    bytes["returned"] === bytes["leased"] &&
    (bytes["leased"] ?? 0) >= 12 * ROWS;
  return [
    ...[...differences].slice(0, DIFFERENCES_MAX).map((row) => wrongly(`differs: ${row}`)),
    ...(got.length === wanted.length ? [] : [wrongly(`${got.length} airports`)]),
    ...(isBack ? [] : [wrongly(`leases ${JSON.stringify(leases)}, ${JSON.stringify(bytes)}`)]),
  ];
}

async function check(folder: string): Promise<Finding[]> {
  const line = ["node", "--conditions=@selvage/source", JOB, "--json", "--out", folder] as const;
  // The oracle computes while the job runs.
  const expected = computeExpected(locateData());
  const [{ code, stdout, output }, answer] = await Promise.all([
    command(line, { timeoutMs: JOB_MS_MAX }),
    expected,
  ]);
  if (code !== 0) return [wrong(`ends with code ${code}:\n${output}`)];
  const document = JSON.parse(stdout) as Ledger & Readonly<Record<string, unknown>>;
  const database = join(folder, "flights.sqlite");
  const differences = compareDatabase(database, answer);
  return [
    ...fieldFindings(document, database),
    ...ledgerFindings(document),
    ...differences.slice(0, DIFFERENCES_MAX).map(wrong),
    ...(await mapReduceFindings(expected)),
  ];
}

const folder = mkdtempSync(join(tmpdir(), "selvage-etl-check-"));
try {
  report("etl", await check(folder));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
