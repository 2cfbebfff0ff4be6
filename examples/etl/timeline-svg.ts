/** The timeline as a picture: one self-contained SVG, readable on light and dark pages. */
import { formatBytes, formatSeconds } from "./format.ts";
import type { LeaseSpan, TaskSpan, Timeline } from "./timeline.ts";

const width = 960;
const left = 190;
const right = 150;
const rowHeight = 26;
const barHeight = 16;
const top = 56;

const colours: Readonly<Record<string, string>> = {
  wave: "#94a3b8",
  succeeded: "#2563eb",
  failed: "#dc2626",
  cancelled: "#d97706",
  running: "#64748b",
  held: "#0d9488",
  lapsing: "#99d5cf",
  reclaimed: "#475569",
};

interface Row {
  readonly name: string;
  readonly note: string;
  readonly marks: string;
}

/** Draws waves, tasks and leases under one time axis. */
export function drawSvg(timeline: Timeline, title: string): string {
  const { waves, tasks, leases, endMs, settledMs } = timeline;
  const x = (ms: number): number => left + (ms / Math.max(endMs, 1)) * (width - left - right);
  const rect = (y: number, fromMs: number, toMs: number, colour: string): string =>
    `<rect x="${fixed(x(fromMs))}" y="${y}" width="${fixed(Math.max(x(toMs) - x(fromMs), 1.5))}" height="${barHeight}" rx="3" fill="${colours[colour] ?? colours["running"]}"/>`;
  const task =
    (span: TaskSpan) =>
    (y: number): Row => ({
      name: `${span.name}${span.attempt > 1 ? ` (attempt ${span.attempt})` : ""}`,
      note: `${span.outcome} in ${formatSeconds((span.toMs ?? endMs) - span.fromMs)}`,
      marks: rect(y, span.fromMs, span.toMs ?? endMs, span.outcome),
    });
  const lease =
    (span: LeaseSpan) =>
    (y: number): Row => {
      const toMs = span.toMs ?? endMs;
      const heldMs = Math.max(span.fromMs, Math.min(settledMs ?? endMs, toMs));
      const ticks = span.renewedMs.map(
        (ms) =>
          `<line x1="${fixed(x(ms))}" x2="${fixed(x(ms))}" y1="${y}" y2="${y + barHeight}" stroke="#fff" stroke-width="1"/>`,
      );
      const end = `<circle cx="${fixed(x(span.reclaimedMs ?? toMs))}" cy="${y + barHeight / 2}" r="4" fill="${colours["reclaimed"]}"/>`;
      return {
        name: span.name,
        note: `${span.endedAs ?? "active"}, ${formatBytes(span.bytes)}`,
        marks:
          rect(y, span.fromMs, heldMs, "held") +
          rect(y, heldMs, toMs, "lapsing") +
          ticks.join("") +
          end,
      };
    };
  const rows = [
    ...waves.map((span) => (y: number): Row => ({
      name: span.name,
      note: "",
      marks: rect(y, span.fromMs, span.toMs ?? endMs, "wave"),
    })),
    ...tasks.map(task),
    ...leases.map(lease),
  ].map((row, index) => drawRow(row, top + index * rowHeight));
  const bottom = top + rows.length * rowHeight;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${bottom + 52}" font-family="system-ui, sans-serif" font-size="13" fill="#334155">`,
    `<rect width="${width}" height="${bottom + 52}" rx="8" fill="#f8fafc"/>`,
    `<text x="20" y="30" font-size="16" font-weight="600">${escape(title)}</text>`,
    ...axis(endMs, x, bottom),
    settled(settledMs, x, bottom),
    ...rows,
    legend(bottom + 38),
    "</svg>",
    "",
  ].join("\n");
}

function drawRow(row: (y: number) => Row, y: number): string {
  const { name, note, marks } = row(y);
  const baseline = y + barHeight - 3;
  return `<g><text x="${left - 10}" y="${baseline}" text-anchor="end">${escape(name)}</text>${marks}<text x="${width - right + 12}" y="${baseline}" font-size="11" fill="#64748b">${escape(note)}</text></g>`;
}

function axis(endMs: number, x: (ms: number) => number, bottom: number): string[] {
  const stepMs =
    [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000].find(
      (step) => endMs / step <= 12,
    ) ?? 300_000;
  const lines: string[] = [];
  for (let ms = 0; ms <= endMs; ms += stepMs) {
    const at = fixed(x(ms));
    lines.push(
      `<line x1="${at}" x2="${at}" y1="${top - 8}" y2="${bottom}" stroke="#e2e8f0"/><text x="${at}" y="${bottom + 14}" font-size="11" text-anchor="middle" fill="#64748b">${ms / 1_000} s</text>`,
    );
  }
  return lines;
}

function settled(ms: number | undefined, x: (ms: number) => number, bottom: number): string {
  if (ms === undefined) return "";
  const at = fixed(x(ms));
  return `<line x1="${at}" x2="${at}" y1="${top - 14}" y2="${bottom}" stroke="#0f172a" stroke-dasharray="4 3"/><text x="${at}" y="${top - 18}" font-size="11" text-anchor="middle">settled: nothing is renewed any more</text>`;
}

function legend(y: number): string {
  const entries: [string, string][] = [
    ["succeeded", "task"],
    ["held", "lease, renewed beside the work (white: renewals)"],
    ["lapsing", "lease, lapsing"],
    ["reclaimed", "bytes zeroed and free"],
  ];
  const starts = [20, 90, 420, 560];
  return entries
    .map(([colour, text], index) => {
      const at = starts[index] ?? 0;
      return `<rect x="${at}" y="${y - 9}" width="10" height="10" rx="2" fill="${colours[colour]}"/><text x="${at + 15}" y="${y}" font-size="11">${text}</text>`;
    })
    .join("");
}

function fixed(value: number): string {
  return value.toFixed(1);
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
