/** What a run was like, as one page to show to others. */
import type { ExecutionPlan } from "../graph/execution-plan.ts";
import type { ExecutionResult } from "../run/execution-result.ts";
import type { ExecutionEvent } from "../run/run-events.ts";
import { drawGraph, leftOutOfGraph } from "./draw-graph.ts";
import { drawTimeline, leftOutOfTimeline } from "./draw-timeline.ts";
import { reportData, restoredText, type ReportData } from "./report-data.ts";
import { REPORT_STYLE } from "./report-style.ts";
import { chain, failures, table, tiles } from "./report-text.ts";
import { recorded, type RunRecorder } from "./run-recorder.ts";
import { counted, escaped, formatUtc, shortened } from "./visible-text.ts";

/** Options of {@link runReport}. */
export interface RunReportOptions {
  /** What the page is called. Default "Run report". */
  readonly title?: string;
}

const titleMax = 160;

/**
 * A run as one HTML page: its graph, a timeline of tasks, leases and bytes, the critical path, what failed and what was
 * skipped because of it, a row a task. The page holds all that it needs and no script, and asks nothing of the network;
 * it is light or dark as its reader's other pages are. Any name and any message is shown as it is, and is never markup.
 * Its size is bounded, some 400 KiB however many tasks there were; it says what it left out.
 *
 * `events` is a {@link RunRecorder} that heard the run, or the events themselves. Without any, there are no leases and no
 * single attempts to show. The same arguments give the same page. An example is at {@link RunRecorder}.
 */
export function runReport(
  plan: ExecutionPlan,
  events: RunRecorder | Iterable<ExecutionEvent>,
  result: ExecutionResult,
  options: RunReportOptions = {},
): string {
  const title = shortened(options.title ?? "Run report", titleMax);
  const data = reportData(plan, recorded(events), result, title);
  return [
    "<!doctype html>",
    '<html lang="en"><head><meta charset="utf-8"/>',
    '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
    // Nothing on the page runs or loads, whatever a name may have smuggled in.
    `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>`,
    `<title>${escaped(title)}</title>`,
    `<style>${REPORT_STYLE}</style></head><body><main>`,
    head(data),
    tiles(data),
    failures(data),
    graph(data),
    timeline(data),
    chain(data),
    table(data),
    "<footer>Drawn by Selvage</footer>",
    "</main></body></html>",
    "",
  ]
    .filter((part, index, all) => part !== "" || index === all.length - 1)
    .join("\n");
}

function head({ title, result, startMs }: ReportData): string {
  const { status, tasks } = result;
  return `<header><h1>${escaped(title)}</h1><p><span class="pill ${status}">${status}</span>${counted(tasks.length, "task")}${tasks.length === 0 ? "" : `, started ${formatUtc(startMs)}`}</p></header>`;
}

function graph(data: ReportData): string {
  if (data.tasks.length === 0) return "";
  const left = leftOutOfGraph(data);
  const note =
    left > 0
      ? `<p class="note">${counted(left, "task")} not drawn: boxes go to what failed, to the critical path, to what was tried again and to what took longest.</p>`
      : "";
  return `<section><h2>Graph</h2><div class="scroll">${drawGraph(data)}</div>${legend([
    ["accent", "critical path; dashed: its wave was next"],
    ["good", "succeeded"],
    ["bad", "failed or timed out"],
    ["late", "cancelled"],
    ["quiet", "skipped"],
  ])}${note}</section>`;
}

function timeline(data: ReportData): string {
  const hasRestored = data.tasks.some(({ restoredMs }) => restoredMs !== undefined);
  if (data.path.steps.length === 0 && !hasRestored) return "";
  const { spilled, unspilled } = data.result.bytes;
  const left = leftOutOfTimeline(data);
  const parts = [
    ...(left.tasks > 0 ? [counted(left.tasks, "task")] : []),
    ...(left.leases > 0 ? [counted(left.leases, "lease")] : []),
  ];
  const note = parts.length === 0 ? "" : `<p class="note">${parts.join(" and ")} not drawn.</p>`;
  return `<section><h2>Timeline</h2><div class="scroll">${drawTimeline(data)}</div>${legend([
    ["good", "attempt that succeeded"],
    ["bad", "attempt that failed"],
    ["held", "lease, kept by renewals"],
    ["lapsing", "lease that nobody needs any more"],
    ["back", "bytes on their way back; the dot: free again"],
    ...(spilled + unspilled > 0
      ? [["spill", "on blocks: ▼ moved there, ▲ back in memory"] as const]
      : []),
    ...(hasRestored ? [["good", `◇ ${restoredText}`] as const] : []),
  ])}${note}</section>`;
}

function legend(entries: readonly (readonly [colour: string, text: string])[]): string {
  const shown = entries.map(
    ([colour, text]) => `<span><i style="background:var(--${colour})"></i>${text}</span>`,
  );
  return `<p class="legend">${shown.join("\n")}</p>`;
}
