/**
 * Question: what does the main job cost on leases, beside the same functions over plain arrays?
 *
 * Workload: `examples/etl` over 3,000,000 flights, from the first line of the job to its last task (`settled`), each
 * run in a process of its own; two worker threads on both sides. Sides take turns.
 * Baseline: typed arrays on the heap, copied to both threads by `postMessage`, and their results copied back.
 * Not measured: the TTL that the leases stand for afterwards, in which nobody works.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { etlStep, etlSubject } from "./etl-subjects.ts";
import { takeTurns, type Effort, type Result } from "./harness.ts";
import { median, quantile, seededRandom } from "./statistics.ts";
import { atMost, type Suite } from "./suite.ts";

const sides = ["leases", "arrays"] as const;
const resamples = 2_000;

/** The bound below which the median of the ratios lies with 90 % confidence, by a bootstrap with a fixed seed. */
function upperBound(ratios: readonly number[]): number {
  const random = seededRandom(1);
  const medians = Array.from({ length: resamples }, () =>
    median(ratios.map(() => ratios[Math.floor(random() * ratios.length)] as number)),
  );
  return quantile(medians, 0.9);
}

async function measure({ smoke, rounds, progress }: Effort): Promise<readonly Result[]> {
  const out = mkdtempSync(join(tmpdir(), "selvage-etl-"));
  try {
    const rows = smoke ? 20_000 : 3_000_000;
    const rss = { leases: [] as number[], arrays: [] as number[] };
    const samples = await takeTurns(
      sides.map((side) =>
        etlSubject(side, [side], { rows, out, onRss: (bytes) => rss[side].push(bytes) }),
      ),
      { rounds: smoke ? 1 : (rounds ?? 15), warmups: smoke ? 0 : 1, progress },
    );
    samples.expectSame(sides.map((side) => [side, etlStep(side, "run")]));
    const arrays = samples.of("arrays", etlStep("arrays", "run"));
    const leases = samples.of("leases", etlStep("leases", "run"));
    const ratios = leases.map((ns, round) => ns / (arrays[round] as number));
    const bound = upperBound(ratios);
    const time = samples.result({
      suite: "etl",
      name: `main job, ${rows} flights, to settled`,
      subject: "leases",
      step: etlStep("leases", "run"),
      peers: { "plain arrays": ["arrays", etlStep("arrays", "run")] },
      targets: [atMost(`time by arrays', upper 90 % bound (${bound.toFixed(3)})`, bound, 1.15)],
    });
    return [time, memory(rows, rss.leases, rss.arrays, time.checksum)];
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

function memory(
  rows: number,
  leases: readonly number[],
  arrays: readonly number[],
  checksum: number,
): Result {
  const MiB = 2 ** 20;
  const ratio = median(arrays) / median(leases);
  return {
    suite: "etl",
    name: `main job, ${rows} flights, peak resident memory`,
    subject: "leases",
    unit: "MiB",
    value: median(leases) / MiB,
    p10: quantile(leases, 0.1) / MiB,
    p90: quantile(leases, 0.9) / MiB,
    rounds: leases.length,
    opsPerRound: 1,
    checksum,
    ratios: { "plain arrays": ratio },
    bounds: {},
    targets: [atMost(`memory by arrays' (${(1 / ratio).toFixed(3)})`, 1 / ratio, 1.1)],
  };
}

export const etlSuite: Suite = {
  name: "etl",
  question: "What does the main job cost on leases, beside the same functions over plain arrays?",
  run: measure,
};
