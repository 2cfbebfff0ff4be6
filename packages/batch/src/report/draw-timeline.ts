/** Tasks, leases and bytes under one axis of time, as SVG. */
import type { BytePoint } from "./byte-series.ts";
import {
  chooseTasks,
  linked,
  restoredText,
  type ReportData,
  type ReportTask,
} from "./report-data.ts";
import type { RecordedLease } from "./run-recorder.ts";
import { counted, escaped, formatBytes, formatMs, shortened } from "./visible-text.ts";

const width = 1_072;
const left = 196;
const right = 132;
const rowHeight = 24;
const barHeight = 14;
const nameMax = 22;
const tasksMax = 160;
const leasesMax = 80;
const chartHeight = 104;
const stepsMs = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000];
const longStepsMs = [60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000, 21_600_000];

/** What the timeline leaves out. */
export function leftOutOfTimeline({ tasks, recorder }: ReportData): {
  readonly tasks: number;
  readonly leases: number;
} {
  const started = tasks.filter(hasPlace).length;
  const leases = recorder.leases.length + recorder.leasesLeftOut;
  return { tasks: Math.max(0, started - tasksMax), leases: Math.max(0, leases - leasesMax) };
}

/** Draws the timeline. */
export function drawTimeline(data: ReportData): string {
  const scale = scaleOf(data);
  const tasks = chooseTasks(data.tasks.filter(hasPlace), tasksMax).toSorted(
    (a, b) => startOf(a) - startOf(b) || a.index - b.index,
  );
  const leases = chooseLeases(data.recorder.leases);
  const tasksTop = 46;
  const leasesTop = tasksTop + tasks.length * rowHeight + 34;
  const bytesTop = leasesTop + leases.length * rowHeight + 34;
  const bottom = leases.length === 0 ? leasesTop - 34 : bytesTop + chartHeight;
  const height = bottom + 30;
  const parts = [
    ...axis(data, scale, tasksTop, bottom),
    heading("tasks", tasksTop),
    ...tasks.map((task, index) => drawTask(task, data, tasksTop + index * rowHeight, scale)),
  ];
  if (leases.length > 0)
    parts.push(
      heading("leases", leasesTop),
      ...leases.map((lease, index) => drawLease(lease, data, leasesTop + index * rowHeight, scale)),
      heading("bytes", bytesTop),
      ...drawBytes(data, bytesTop, scale),
    );
  return [
    `<svg class="timeline" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="tasks, leases and bytes over time">`,
    ...parts,
    "</svg>",
  ].join("\n");
}

interface Scale {
  /** Where a moment is. */
  x(atMs: number): number;
  readonly startMs: number;
  readonly endMs: number;
}

function scaleOf({ startMs, endMs }: ReportData): Scale {
  const perMs = (width - left - right) / (endMs - startMs);
  const x = (atMs: number): number =>
    left + (Math.min(Math.max(atMs, startMs), endMs) - startMs) * perMs;
  return { x, startMs, endMs };
}

function startOf({ result, restoredMs }: ReportTask): number {
  return result.startedAtMs ?? restoredMs ?? 0;
}

// Whether there is anything to draw: a bar, or the mark of a task that an earlier run had done.
function hasPlace({ tookMs, restoredMs }: ReportTask): boolean {
  return tookMs !== undefined || restoredMs !== undefined;
}

// The first ones; up to half of the places are for what went to blocks, or came back.
function chooseLeases(leases: readonly RecordedLease[]): readonly RecordedLease[] {
  if (leases.length <= leasesMax) return leases;
  const moved = leases
    .filter(({ movedOutMs, cameBackMs }) => movedOutMs !== undefined || cameBackMs !== undefined)
    .slice(0, leasesMax / 2);
  const chosen = new Set(moved);
  for (const lease of leases) if (chosen.size < leasesMax) chosen.add(lease);
  return leases.filter((lease) => chosen.has(lease));
}

function heading(text: string, y: number): string {
  return `<text class="heading" x="2" y="${y - 8}">${text}</text>`;
}

function axis(data: ReportData, scale: Scale, from: number, to: number): string[] {
  const spanMs = scale.endMs - scale.startMs;
  const stepMs =
    [...stepsMs, ...longStepsMs].find((step) => spanMs / step <= 10) ?? Math.ceil(spanMs / 10);
  const lines: string[] = [];
  for (let ms = 0; ms <= spanMs; ms += stepMs) {
    const at = fixed(scale.x(scale.startMs + ms));
    lines.push(
      `<path class="grid" d="M${at} ${from - 4}V${to}"/><text class="soft small mid" x="${at}" y="${to + 18}">${formatMs(ms)}</text>`,
    );
  }
  const settled = fixed(scale.x(data.settledMs));
  lines.push(
    `<path class="settled" d="M${settled} ${from - 12}V${to}"/><text class="small mid" x="${settled}" y="${from - 18}">settled</text>`,
  );
  return lines;
}

function bar(kind: string, y: number, fromX: number, toX: number, title: string): string {
  return `<rect class="bar ${kind}" x="${fixed(fromX)}" y="${y}" width="${fixed(Math.max(toX - fromX, 2))}" height="${barHeight}" rx="3"><title>${escaped(title)}</title></rect>`;
}

function drawTask(task: ReportTask, data: ReportData, y: number, scale: Scale): string {
  const { plan, result, attempts, isCritical, tookMs = 0, restoredMs } = task;
  if (restoredMs !== undefined) return drawRestored(task, restoredMs, data, y, scale);
  const { startedAtMs = scale.startMs, endedAtMs = scale.endMs } = result;
  // Without the events of a run there is one bar for all attempts.
  const bars =
    attempts.length > 0
      ? attempts
      : [{ attempt: 1, fromMs: startedAtMs, toMs: endedAtMs, outcome: result.status }];
  const marks = bars.map(({ attempt, fromMs, toMs = scale.endMs, outcome }) =>
    bar(
      outcome,
      y,
      scale.x(fromMs),
      scale.x(toMs),
      `${shortened(plan.name, 120)}, attempt ${attempt}: ${outcome} after ${formatMs(toMs - fromMs)}`,
    ),
  );
  const middle = y + barHeight / 2;
  const waits =
    bars.length > 1
      ? `<path class="wait" d="M${fixed(scale.x(startedAtMs))} ${middle}H${fixed(scale.x(endedAtMs))}"/>`
      : "";
  const more = result.attempts > 1 ? ` · ${counted(result.attempts, "attempt")}` : "";
  const drawn = row(plan.name, y, waits + marks.join(""), {
    text: `${formatMs(tookMs)}${more}`,
    x: scale.x(endedAtMs),
    row: data.rows.get(task),
  });
  return isCritical ? `<circle class="mark" cx="6" cy="${middle}" r="4"/>${drawn}` : drawn;
}

// A task that an earlier run had done: it took no time of this one.
function drawRestored(
  task: ReportTask,
  restoredMs: number,
  data: ReportData,
  y: number,
  scale: Scale,
): string {
  const { name } = task.plan;
  const x = scale.x(restoredMs) + 7;
  const middle = y + barHeight / 2;
  const title = `${shortened(name, 120)}: ${restoredText}`;
  const mark = `<path class="restored" d="M${fixed(x)} ${middle - 6}l6 6l-6 6l-6 -6Z"><title>${escaped(title)}</title></path>`;
  return row(name, y, mark, { text: restoredText, x: x + 4, row: data.rows.get(task) });
}

function row(
  name: string,
  y: number,
  marks: string,
  note: { readonly text: string; readonly x: number; readonly row?: number | undefined },
): string {
  const baseline = y + barHeight - 3;
  const label = `<text x="18" y="${baseline}">${escaped(shortened(name, nameMax))}</text>`;
  return `${linked(label, note.row)}${marks}<text class="soft small" x="${fixed(note.x + 8)}" y="${baseline}">${escaped(note.text)}</text>`;
}

function drawLease(lease: RecordedLease, data: ReportData, y: number, scale: Scale): string {
  const {
    task,
    output,
    kind,
    bytes,
    grantedMs,
    renewedMs,
    renewals,
    endedMs,
    endedAs,
    reclaimedMs,
  } = lease;
  // Some leases hold what several tasks made.
  const name = task === "" ? "shared" : `${task}/${output}`;
  const toMs = endedMs ?? scale.endMs;
  // Nobody alone reads what is shared: the run holds it to its end.
  const readMs = task === "" ? toMs : lastReadMs(lease, data);
  const lapsesMs = Math.min(toMs, Math.max(grantedMs, readMs));
  const about = `${shortened(name, 120)}: ${formatBytes(bytes)}${kind === "block" ? " of blocks" : ""}`;
  const ended = endedAs ?? "stands";
  const ticks = renewedMs.map((ms) => {
    const x = fixed(scale.x(ms));
    return `<path class="tick" d="M${x} ${y + 2}v${barHeight - 4}"/>`;
  });
  const title = `${about}, ${counted(renewals, "renewal")}, ${ended} after ${formatMs(toMs - grantedMs)}`;
  const [from, lapses, to] = [scale.x(grantedMs), scale.x(lapsesMs), scale.x(toMs)];
  const marks = [
    drawAway(lease, about, y, scale),
    bar("held", y, from, Math.max(lapses, from + 2), title),
    to - lapses > 1 ? bar("lapsing", y, lapses, to, `${title}; nobody needs it any more`) : "",
    ...ticks,
    reclaimedMs === undefined
      ? ""
      : `<circle class="reclaimed" cx="${fixed(scale.x(reclaimedMs))}" cy="${y + barHeight / 2}" r="4"><title>${escaped(`${about}, free again`)}</title></circle>`,
    drawMoves(lease, about, y, scale),
  ];
  return row(name, y, marks.join(""), {
    text: `${lease.movedOutMs === undefined ? ended : "to blocks"} · ${formatBytes(bytes)}`,
    x: Math.max(to, scale.x(reclaimedMs ?? toMs)) + 2,
  });
}

// The time on blocks, before the lease that it came back into.
function drawAway(lease: RecordedLease, about: string, y: number, scale: Scale): string {
  const { cameBackMs, awaySinceMs } = lease;
  if (cameBackMs === undefined || awaySinceMs === undefined) return "";
  const [from, to] = [fixed(scale.x(awaySinceMs)), fixed(scale.x(lease.grantedMs))];
  const title = `${about}, on blocks for ${formatMs(cameBackMs - awaySinceMs)}`;
  return `<path class="away" d="M${from} ${y + barHeight / 2}H${to}"><title>${escaped(title)}</title></path>`;
}

// Where it went to blocks, and where it was back: heads that point down and up.
function drawMoves(lease: RecordedLease, about: string, y: number, scale: Scale): string {
  const { movedOutMs, cameBackMs } = lease;
  const head = (atMs: number, path: string, words: string): string =>
    `<path class="moved" d="M${fixed(scale.x(atMs))} ${path}"><title>${escaped(`${about}, ${words}`)}</title></path>`;
  return [
    cameBackMs === undefined ? "" : head(cameBackMs, `${y}l5 9h-10Z`, "back from blocks"),
    movedOutMs === undefined
      ? ""
      : head(movedOutMs, `${y + barHeight}l5 -9h-10Z`, "moved to blocks"),
  ].join("");
}

// When the last task that reads it, or the attempt that made it in vain, ended: from then on nobody renews it.
function lastReadMs({ task, output, grantedMs }: RecordedLease, { byName }: ReportData): number {
  const maker = byName.get(task);
  const attempt = maker?.attempts.findLast(({ fromMs }) => fromMs <= grantedMs);
  if (attempt?.toMs !== undefined && attempt.outcome !== "succeeded") return attempt.toMs;
  let lastMs = maker?.result.endedAtMs ?? 0;
  const stack = [...(maker?.plan.before ?? [])];
  const seen = new Set(stack);
  // Readers are among the tasks after it; a long chain behind them is not worth the walk.
  for (let looked = 0; looked < 256; looked++) {
    const reader = byName.get(stack.pop() ?? "");
    if (reader === undefined) break;
    if (reader.plan.inputs.some(({ name }) => name === output))
      lastMs = Math.max(lastMs, reader.result.endedAtMs ?? 0);
    for (const next of reader.plan.before) if (seen.size !== seen.add(next).size) stack.push(next);
  }
  return lastMs;
}

function drawBytes({ recorder }: ReportData, y: number, scale: Scale): string[] {
  const { points, widthMs } = recorder.bytes;
  const highest = (bytesOf: (point: BytePoint) => number): number =>
    points.reduce((peak, point) => Math.max(peak, bytesOf(point)), 0);
  const leasedPeak = highest(({ peakLeased }) => peakLeased);
  const spilledPeak = highest(({ peakSpilled }) => peakSpilled);
  const peak = Math.max(
    1,
    spilledPeak,
    highest(({ peakLeased, peakReturning }) => peakLeased + peakReturning),
  );
  const bottom = y + chartHeight;
  const at = (bytes: number): string => fixed(bottom - (bytes / peak) * (chartHeight - 8));
  const area = (
    kind: string,
    bytesOf: (point: BytePoint) => readonly [most: number, then: number],
  ): string => {
    let path = `M${left} ${bottom}`;
    for (const [index, point] of points.entries()) {
      const [most, then] = bytesOf(point);
      const fromMs = point.atMs;
      const nextMs = points[index + 1]?.atMs ?? scale.endMs;
      path += `H${fixed(scale.x(fromMs))}V${at(most)}`;
      if (then !== most)
        path += `H${fixed(scale.x(Math.min(nextMs, fromMs + widthMs)))}V${at(then)}`;
    }
    return `<path class="${kind}" d="${path}H${fixed(scale.x(scale.endMs))}V${bottom}Z"/>`;
  };
  const grid = [0, 0.5, 1].map((part) => {
    const level = at(part * peak);
    return `<path class="grid" d="M${left} ${level}H${width - right}"/><text class="soft small end" x="${left - 8}" y="${Number(level) + 4}">${formatBytes(Math.round(part * peak))}</text>`;
  });
  return [
    ...grid,
    area("returning", (one) => [one.peakLeased + one.peakReturning, one.leased + one.returning]),
    area("leased", (one) => [one.peakLeased, one.leased]),
    ...(spilledPeak === 0 ? [] : [area("spilled", (one) => [one.peakSpilled, one.spilled])]),
    ...(spilledPeak === 0 ? [] : drawPeaks(leasedPeak, spilledPeak, y)),
  ];
}

// Says beside the chart which series is which, and how high each came.
function drawPeaks(leased: number, spilled: number, y: number): string[] {
  const x = width - right + 12;
  const words = (colour: string, name: string, bytes: number, top: number): string =>
    `<rect class="${colour}" x="${x}" y="${top}" width="10" height="10" rx="2"/><text class="small" x="${x + 16}" y="${top + 9}">${name}</text><text class="soft small" x="${x + 16}" y="${top + 24}">${formatBytes(bytes)} at most</text>`;
  return [
    words("leased", "in memory", leased, y + 8),
    words("spilled", "on blocks", spilled, y + 48),
  ];
}

function fixed(value: number): string {
  return String(Number(value.toFixed(1)));
}
