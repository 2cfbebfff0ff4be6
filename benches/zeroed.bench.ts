/**
 * Question: what does a lease of zeroed bytes cost, and what does a stream of them leave in memory?
 *
 * Workload: acquire and release of 64 KiB, 1 MiB and 64 MiB; the release zeroes. Then 3,000 leases of 1 MiB in turn,
 * every page touched, in a process of their own, whose resident memory is drawn.
 * Baseline: a fresh SharedArrayBuffer, touched page by page, which is when the kernel zeroes it; dropped to the
 * collector.
 * Not measured: the first lease of an arena, whose pages the kernel has yet to give; many live leases at a time.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Fabric } from "@selvage/node";
import { lineChart } from "./curve.ts";
import { takeTurns, timedSingly, type Effort, type Result } from "./harness.ts";
import { atLeast, atMost, type Suite } from "./suite.ts";

const KIB = 1_024;
const MIB = 1_024 * KIB;
const PAGE_BYTES = 4_096;
/** Bytes, name, operations per turn, and the floor of the ratio. */
const sizes = [
  [64 * KIB, "64 KiB", 50, 2.5],
  [MIB, "1 MiB", 20, 3.5],
  [64 * MIB, "64 MiB", 2, 2.5],
] as const;

function touchFresh(bytes: number): number {
  const view = new Uint8Array(new SharedArrayBuffer(bytes));
  let pages = 0;
  for (let at = 0; at < bytes; at += PAGE_BYTES) {
    view[at] = 1;
    pages += view[at] as number;
  }
  return pages;
}

async function measureSize(
  [bytes, name, iterations, floor]: (typeof sizes)[number],
  { smoke, rounds, progress }: Effort,
): Promise<Result> {
  using fabric = Fabric.open({ memoryBytes: bytes, blocks: 0 });
  const builder = fabric.mem().minBytes(bytes).leaseSecs(60);
  // Once before: the arena's pages are there, as they are for all leases but the first.
  {
    using first = builder.acquire();
    first.with((view) => view.fill(1), { write: true });
  }
  const many = smoke ? 1 : iterations;
  const samples = await takeTurns(
    [
      timedSingly("lease", many, () => {
        using lease = builder.acquire();
        return lease.bytes / PAGE_BYTES;
      }),
      timedSingly("SharedArrayBuffer", many, () => touchFresh(bytes)),
    ],
    { rounds: smoke ? 2 : (rounds ?? 31), warmups: smoke ? 0 : 5, progress },
  );
  samples.expectEqual("op", ["lease", "SharedArrayBuffer"]);
  const peer = "fresh SharedArrayBuffer";
  const ratio = samples.median("SharedArrayBuffer", "op") / samples.median("lease", "op");
  return samples.result({
    suite: "zeroed",
    name: `grant and release, ${name}`,
    subject: "lease",
    step: "op",
    peers: { [peer]: ["SharedArrayBuffer", "op"] },
    targets: [atLeast(peer, ratio, floor)],
  });
}

interface Curve {
  readonly baseBytes: number;
  readonly slabBytes: number;
  readonly rssBytes: readonly number[];
  /** Bytes found that were not zero. */
  readonly dirty: number;
}

async function curveOf(side: "leases" | "buffers", count: number): Promise<Curve> {
  const worker = fileURLToPath(new URL("./zeroed-worker.ts", import.meta.url));
  const child = fork(worker, [side, String(count)], {
    execArgv: ["--conditions=@selvage/source"],
  });
  const [curve] = (await once(child, "message")) as [Curve];
  if (curve.dirty !== 0) throw new Error(`${side}: ${curve.dirty} bytes were not zero`);
  return curve;
}

function peakMib({ baseBytes, rssBytes }: Curve): number {
  return (Math.max(...rssBytes) - baseBytes) / MIB;
}

function drawCurves(out: string, leases: Curve, buffers: Curve): string {
  const mib = ({ rssBytes }: Curve): number[] => rssBytes.map((bytes) => bytes / MIB);
  const chart = lineChart(
    "Resident memory over 3,000 buffers of 1 MiB, one at a time",
    "MiB resident",
    "buffers in turn",
    [
      { name: "Selvage leases", color: "#0a7", values: mib(leases) },
      { name: "fresh SharedArrayBuffers", color: "#c33", values: mib(buffers) },
    ],
  );
  mkdirSync(out, { recursive: true });
  const path = join(out, "resident-memory.svg");
  writeFileSync(path, chart);
  return path;
}

async function measureMemory({ smoke, out, progress }: Effort): Promise<Result> {
  const count = smoke ? 30 : 3_000;
  progress("resident memory");
  const leases = await curveOf("leases", count);
  const buffers = await curveOf("buffers", count);
  process.stderr.write(`zeroed: the curve is ${drawCurves(out, leases, buffers)}\n`);
  const peak = peakMib(leases);
  const slab = leases.slabBytes / MIB;
  const ratio = peakMib(buffers) / peak;
  return {
    suite: "zeroed",
    name: `resident peak above the start, ${count} of 1 MiB`,
    subject: "leases",
    unit: "MiB",
    value: peak,
    p10: peak,
    p90: peak,
    rounds: 1,
    opsPerRound: count,
    checksum: leases.dirty,
    ratios: { "fresh SharedArrayBuffer": ratio },
    bounds: {},
    targets: [atMost(`MiB, slab of ${slab}`, peak, slab * 1.1)],
  };
}

export const zeroedSuite: Suite = {
  name: "zeroed",
  question: "What does a lease of zeroed bytes cost, and what stays resident?",
  async run(effort) {
    const results: Result[] = [];
    for (const size of effort.smoke ? sizes.slice(0, 2) : sizes)
      results.push(await measureSize(size, effort));
    results.push(await measureMemory(effort));
    return results;
  },
};
