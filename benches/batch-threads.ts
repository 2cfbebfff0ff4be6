/**
 * The batch suite's rows on threads. Question: what does a graph gain by worker threads, and what does it cost to hand its data to
 * them?
 *
 * Workload: the main job of `examples/etl` over 3,000,000 flights, whole, and of it the middle, from the last flight decoded
 * to the answers of the two threads that aggregate and enrich; and two CPU-bound tasks on two threads.
 * Baseline: threads that get the decoded columns by structured clone, piscina's threads that get them as arguments,
 * and piscina's again with what can be transferred; for the two tasks one after the other, and bare threads. Threads
 * are started with the job, and are ready when its flights are decoded; those of the two tasks before, but for `cold`.
 * Not measured: columns in shared memory of the program's own, which piscina's threads could read as well.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { childSubject } from "./children.ts";
import type { EtlSide } from "./etl-run.ts";
import { etlStep, etlSubject } from "./etl-subjects.ts";
import { takeTurns, type Effort, type Result } from "./harness.ts";
import { atLeast } from "./suite.ts";

const burner = new URL("./batch-threads-worker.ts", import.meta.url);

/** Who plays the job's threads, by what the table calls them. */
const others = {
  "structured clone": "arrays",
  piscina: "pool",
  "piscina, transfers": "poolMoves",
} as const;

/** The main job on leases, against arrays. */
export async function etlRows({ smoke, rounds, progress }: Effort): Promise<readonly Result[]> {
  const out = mkdtempSync(join(tmpdir(), "selvage-batch-"));
  try {
    const rows = smoke ? 2_000 : 3_000_000;
    const sides: readonly EtlSide[] = ["leases", ...Object.values(others)];
    const subjectOf = (side: EtlSide): string => (smoke ? "all" : side);
    const samples = await takeTurns(
      smoke
        ? [etlSubject("all", sides, { rows, out })]
        : sides.map((side) => etlSubject(side, [side], { rows, out })),
      { rounds: smoke ? 1 : (rounds ?? 9), warmups: smoke ? 0 : 1, progress },
    );
    // Whoever came to other tables is no peer.
    samples.expectSame(sides.map((side) => [subjectOf(side), etlStep(side, "run")]));
    return (["run", "middle"] as const).map((part) =>
      samples.result({
        suite: "batch",
        name: `ETL of ${rows} flights${part === "run" ? "" : ", from decoded to answered"}`,
        subject: subjectOf("leases"),
        step: etlStep("leases", part),
        peers: Object.fromEntries(
          Object.entries(others).map(([peer, side]) => [
            peer,
            [subjectOf(side), etlStep(side, part)],
          ]),
        ),
      }),
    );
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

/** Two CPU-bound tasks on two threads, against one after the other. */
export async function parallelRows({
  smoke,
  rounds,
  progress,
}: Effort): Promise<readonly Result[]> {
  const tasks = childSubject("tasks", burner, [smoke ? "100000" : "50000000"]);
  const samples = await takeTurns([tasks], {
    rounds: smoke ? 1 : (rounds ?? 15),
    warmups: smoke ? 0 : 2,
    progress,
  });
  const median = (step: string): number => samples.median("tasks", step);
  const row = (name: string, step: string, peers: Readonly<Record<string, string>>): Result =>
    samples.result({
      suite: "batch",
      name,
      subject: "tasks",
      step,
      peers: Object.fromEntries(Object.entries(peers).map(([peer, of]) => [peer, ["tasks", of]])),
      targets:
        step === "parallel"
          ? [atLeast("sequential", median("sequential") / median("parallel"), 1.8)]
          : [],
    });
  return [
    row("two CPU-bound tasks, warm threads", "parallel", {
      sequential: "sequential",
      "bare threads": "bareParallel",
    }),
    row("two CPU-bound tasks, threads started", "cold", {
      sequential: "sequential",
      "warm threads": "parallel",
    }),
    row("two CPU-bound functions, bare threads", "bareParallel", { sequential: "bareSequential" }),
  ];
}
