/** The timeline as lines of text: what stands in a lease when, at a glance. */
import { formatBytes, formatSeconds } from "./format.ts";
import type { Span, Timeline } from "./timeline.ts";

const columns = 60;

/** Draws waves, tasks and leases, one line each. `~` is the time that a lease stands with nobody renewing it. */
export function drawText(timeline: Timeline): string {
  const { waves, tasks, leases, endMs } = timeline;
  const rows: [string, string, string][] = [
    ...waves.map((span): [string, string, string] => [span.name, bar(span, endMs, "="), ""]),
    ...tasks.map((span): [string, string, string] => [
      `${span.name}${span.attempt > 1 ? ` #${span.attempt}` : ""}`,
      bar(span, endMs, "#"),
      span.outcome,
    ]),
    ...leases.map((span): [string, string, string] => {
      // A lease of a failed attempt can be told of after the run has settled: nobody held it then.
      const untilMs = Math.min(timeline.settledMs ?? endMs, span.toMs ?? endMs);
      const held = { ...span, toMs: Math.max(span.fromMs, untilMs) };
      const whole = bar(span, endMs, "~");
      const line = bar(held, endMs, "-")
        .split("")
        .map((mark, at) => (mark === " " ? whole[at] : mark));
      return [span.name, line.join(""), `${span.endedAs ?? "active"}, ${formatBytes(span.bytes)}`];
    }),
  ];
  const width = Math.max(...rows.map(([name]) => name.length), 0);
  const lines = rows.map(([name, line, note]) => `  ${name.padEnd(width)} |${line}| ${note}`);
  const scale = `  ${"".padEnd(width)} 0 s${formatSeconds(endMs).padStart(columns - 1)}`;
  return [...lines.map((line) => line.trimEnd()), scale].join("\n");
}

function bar({ fromMs, toMs }: Span, endMs: number, mark: string): string {
  const at = (ms: number): number =>
    Math.min(columns - 1, Math.floor((ms / Math.max(endMs, 1)) * columns));
  const from = at(fromMs);
  const to = at(toMs ?? endMs);
  return `${" ".repeat(from)}${mark.repeat(to - from + 1)}${" ".repeat(columns - 1 - to)}`;
}
