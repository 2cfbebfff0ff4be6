/** Ingest, parse, enrich, store: parse and enrich on threads of their own, which may be ended while they work. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { runStages, type StageThreadsResult } from "selvage";
import enrich from "./enrich-stage.ts";
import { feedLines, type Row } from "./feed.ts";
import parse from "./parse-stage.ts";
import { RowSink, type StoredRow } from "./sink.ts";

/** What is to go wrong. */
export interface Trouble {
  /** How often the thread of a stage is ended while it works, by the stage's name. */
  readonly kills: ReadonlyMap<string, number>;
  /** The edges' leases are not renewed, and end after so many milliseconds. */
  readonly expireEveryMs?: number;
}

/** What a run came to. */
export interface QuakeTotals extends StageThreadsResult {
  readonly rows: number;
  /** Whether the table has the rows that a loop on one thread makes, under the same numbers. */
  readonly isRight: boolean;
  /** Rows that came to the sink a second time. */
  readonly again: number;
  readonly kills: Readonly<Record<string, number>>;
}

/** Runs the feed through. */
export async function runQuakes({ kills, expireEveryMs }: Trouble): Promise<QuakeTotals> {
  const folder = mkdtempSync(path.join(tmpdir(), "selvage-quakes-"));
  try {
    using sink = new RowSink(path.join(folder, "rows.sqlite"));
    const expected = expectedRows();
    const killed = new Map<string, number>();
    const left = [...kills].flatMap(([stage, times]) => Array<string>(times).fill(stage));
    const total = left.length;
    let isKilling = false;
    // One after the other, at even distances in the stream, while the stage's thread is at work.
    const kill = async (reached: number): Promise<void> => {
      const at = ((total - left.length + 1) * expected.length) / (total + 1);
      const stage = left[0];
      if (isKilling || stage === undefined || reached < at) return;
      isKilling = true;
      if (await run.terminate(stage)) {
        left.shift();
        killed.set(stage, (killed.get(stage) ?? 0) + 1);
      }
      isKilling = false;
    };
    const run = runStages<string, Row>({
      source: feedLines(),
      stages: [
        { name: "parse", module: new URL("./parse-stage.ts", import.meta.url) },
        { name: "enrich", module: new URL("./enrich-stage.ts", import.meta.url) },
      ],
      stride: 2_048,
      sink(items, edge) {
        sink.store(items, edge);
        void kill(items.at(-1)?.sequence ?? 0);
      },
      ...(expireEveryMs === undefined ? {} : { leaseMs: expireEveryMs, renew: false }),
    });
    const result = await run.result;
    const rows = sink.rows();
    const isRight = JSON.stringify(rows) === JSON.stringify(expected);
    const told = { rows: rows.length, isRight, again: sink.again };
    return { ...result, ...told, kills: Object.fromEntries(killed) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function expectedRows(): readonly StoredRow[] {
  const rows: StoredRow[] = [];
  let sequence = 0;
  for (const line of feedLines()) {
    const reading = parse(line);
    if (reading !== undefined) rows.push({ sequence, ...enrich(reading) });
    sequence++;
  }
  return rows;
}
