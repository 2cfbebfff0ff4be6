/** How results are told: a table for people, the machine for whoever compares. */
import { availableParallelism, cpus, loadavg, platform, release, totalmem } from "node:os";
import type { Result } from "./harness.ts";
import type { Suite } from "./suite.ts";

/** What the figures were taken on. Others at work on it show in the load. */
export function machine(): object {
  return {
    node: process.version,
    v8: process.versions.v8,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    platform: `${platform()} ${release()} ${process.arch}`,
    loadAverage: loadavg()[0],
    at: new Date().toISOString(),
  };
}

function figure(value: number): string {
  if (!Number.isFinite(value)) return "-";
  if (value >= 1_000) return Math.round(value).toLocaleString("en");
  return value.toPrecision(3);
}

function ratiosOf({ ratios, bounds }: Result): string {
  return Object.entries(ratios)
    .map(([peer, ratio]) => {
      const [low, high] = bounds[peer] ?? [ratio, ratio];
      return `${ratio.toFixed(2)}x ${peer} [${low.toFixed(2)}, ${high.toFixed(2)}]`;
    })
    .join("; ");
}

function targetsOf({ targets }: Result): string {
  return targets.map(({ what, isMet }) => `${isMet ? "met" : "SHORT"}: ${what}`).join("; ");
}

/** One suite's results, a line each. */
export function table(suite: Suite, results: readonly Result[], smoke: boolean): string {
  const head = `${suite.name}: ${suite.question}${smoke ? " (smoke: the figures mean nothing)" : ""}`;
  const width = Math.max(...results.map(({ name, label }) => (label ?? name).length));
  const lines = results.map((result) => {
    const { name, label = name, unit, value, p10, p90 } = result;
    const spread = `${figure(value)} ${unit} (${figure(p10)}..${figure(p90)})`;
    const cells = [label.padEnd(width), spread.padEnd(36), ratiosOf(result)];
    if (!smoke) cells.push(targetsOf(result));
    return `  ${cells.filter((cell) => cell !== "").join("  ")}`.trimEnd();
  });
  return [head, ...lines, ""].join("\n");
}
