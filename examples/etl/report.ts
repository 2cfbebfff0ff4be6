/** What a run leaves on the screen: the worst airports, the ledger of leases, the timeline; or one JSON document. */
import { DatabaseSync } from "node:sqlite";
import { isFabricError, type ExecutionResult } from "selvage";
import { formatBytes, formatSeconds, formatTable } from "./format.ts";

/** What the JSON document has beside the run's own result. */
export interface JobFigures {
  readonly waves: string[][];
  readonly rowsRead: number;
  /** Where the database is; undefined when there is none. */
  readonly database: string | undefined;
  readonly rssPeakMiB: number;
}

/** The run as one JSON document. */
export function toJson(result: ExecutionResult, figures: JobFigures): object {
  const { status, succeeded, failed, skipped, cancelled, timedOut } = result;
  const { renewals, leases, bytes, elapsedMs, teardownMs } = result;
  return {
    status,
    waves: figures.waves,
    succeeded,
    failed,
    skipped,
    cancelled,
    timedOut,
    tasks: result.tasks.map(({ errors, error, ...task }) => ({
      ...task,
      ...(error === undefined ? {} : { error: plainError(error) }),
      errors: errors.map((failure) => ({ ...failure, error: plainError(failure.error) })),
    })),
    renewals,
    leases,
    bytes,
    rows: { read: figures.rowsRead },
    output: { path: figures.database ?? null },
    rssPeakMiB: figures.rssPeakMiB,
    elapsedMs,
    teardownMs,
  };
}

/** The JSON document of a command that came to no run. */
export function toErrorJson(error: unknown): object {
  return { status: "failed", error: plainError(error) };
}

/** The ten airports with the largest mean delay. */
export function worstAirports(database: string): string {
  using connection = new DatabaseSync(database, { readOnly: true });
  const rows = connection
    .prepare(
      "SELECT iata, name, city, state, departures, mean_delay_min AS mean, late_departures AS late FROM airport_delays ORDER BY mean DESC, iata LIMIT 10",
    )
    .all();
  return formatTable(
    ["iata", "name", "city", "departures", "mean delay", "late"],
    rows.map(({ iata, name, city, state, departures, mean, late }) => [
      String(iata),
      String(name ?? "?"),
      `${String(city ?? "?")}, ${String(state ?? "?")}`,
      Number(departures),
      Number(Number(mean).toFixed(2)),
      Number(late),
    ]),
  );
}

/** Where the run's bytes went. */
export function ledger({
  leases,
  bytes,
  renewals,
  elapsedMs,
  teardownMs,
}: ExecutionResult): string {
  const { granted, expired, released, revoked, fenced, active } = leases;
  return [
    `  leases   granted ${granted}, renewals ${renewals}: expired ${expired}, released ${released}, revoked ${revoked}, fenced ${fenced}, active ${active}`,
    `  bytes    leased ${formatBytes(bytes.leased)}, peak ${formatBytes(bytes.peakLeased)}: returned ${formatBytes(bytes.returned)}, fenced ${formatBytes(bytes.fenced)}, active ${formatBytes(bytes.active)}`,
    `  time     work ${formatSeconds(elapsedMs)}, teardown ${formatSeconds(teardownMs)}`,
  ].join("\n");
}

/** What went wrong, a line a task. */
export function failures({ tasks }: ExecutionResult): string {
  return tasks
    .filter(({ status }) => status !== "succeeded")
    .map(({ name, status, because, error }) => {
      const why = because === undefined ? describeError(error) : `because of ${because}`;
      return `  ${name}: ${status}${why === "" ? "" : ` (${why})`}`;
    })
    .join("\n");
}

function describeError(error: unknown): string {
  if (error === undefined) return "";
  const { code, message } = plainError(error);
  return code === null ? message : `${code}: ${message}`;
}

function plainError(error: unknown): { code: string | null; message: string } {
  const message = error instanceof Error ? error.message : String(error);
  return { code: isFabricError(error) ? error.code : null, message };
}
