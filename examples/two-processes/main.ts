/**
 * `main.ts [--kill N] [--json]`: two processes and an edge between them over two block files. Either is killed, `N` times in
 * all, at random, and started again; the sink ends with every flight once.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { readFlights } from "./feed.ts";
import { FlightSink, type SinkTotals } from "./sink.ts";

/** What a run came to. */
export interface RunTotals extends SinkTotals {
  readonly kills: number;
  readonly isRight: boolean;
}

/** A program that is started again whenever it was killed, until it has ended by itself. */
class Kept {
  readonly #file: string;
  readonly #folder: string;
  #child: ChildProcess | undefined;

  constructor(name: string, folder: string) {
    this.#file = fileURLToPath(new URL(`./${name}-worker.ts`, import.meta.url));
    this.#folder = folder;
  }

  async run(): Promise<void> {
    for (;;) {
      const args = [...process.execArgv, this.#file, this.#folder];
      const child = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit"] });
      this.#child = child;
      const [code, signal] = (await once(child, "exit")) as [number | null, string | null];
      this.#child = undefined;
      if (code === 0) return;
      if (signal !== "SIGKILL") throw new Error(`${this.#file} ended with ${code ?? signal}`);
    }
  }

  /** Kills the process; false where there is none. */
  kill(): boolean {
    return this.#child?.kill("SIGKILL") ?? false;
  }
}

/** Runs both to the end, killing one of them `kills` times. */
export async function runTwo(kills: number, pauseMs: () => number): Promise<RunTotals> {
  const folder = mkdtempSync(path.join(tmpdir(), "selvage-two-"));
  try {
    const both = ["produce", "consume"].map((name) => new Kept(name, folder));
    const done = Promise.all(both.map((program) => program.run())).then(() => "done");
    let killed = 0;
    while (killed < kills) {
      const pause = new Promise((resolve) => setTimeout(resolve, pauseMs()));
      if ((await Promise.race([done, pause])) === "done") break;
      const victim = both[Math.random() < 0.5 ? 0 : 1];
      if (victim?.kill() === true) killed++;
    }
    await done;
    using sink = new FlightSink(folder);
    return { ...sink.totals(), kills: killed, isRight: isRight(sink.totals()) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function isRight({ rows, delay, distance }: SinkTotals): boolean {
  const flights = readFlights();
  const sum = (of: "delay" | "distance"): number =>
    flights.reduce((total, flight) => total + flight[of], 0);
  return rows === flights.length && delay === sum("delay") && distance === sum("distance");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: { kill: { type: "string", default: "4" }, json: { type: "boolean" } },
  });
  const totals = await runTwo(Number(values.kill), () => 200 + Math.random() * 600);
  if (values.json === true) console.log(JSON.stringify(totals));
  else
    console.log(
      `${totals.rows} flights stored, ${totals.isRight ? "each once" : "WRONG"}, with ${totals.kills} processes killed on the way`,
    );
  if (!totals.isRight) process.exitCode = 1;
}
