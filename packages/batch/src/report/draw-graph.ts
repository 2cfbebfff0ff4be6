/** The graph of a run as SVG: a column a wave, a box a task, the critical path marked. */
import { chooseTasks, linked, type ReportData, type ReportTask } from "./report-data.ts";
import { counted, escaped, formatMs, shortened } from "./visible-text.ts";

const boxWidth = 184;
const boxHeight = 46;
const gapX = 84;
const gapY = 16;
const margin = 14;
const top = 40;
const nameMax = 20;
const tasksMax = 96;
// Names of data are written on edges only while there is room for them.
const labelledEdgesMax = 14;

const signs: Readonly<Record<string, string>> = {
  succeeded: "✓",
  failed: "✕",
  timedOut: "⏱",
  skipped: "↷",
  cancelled: "◼",
};

/** The sign of an outcome: colour is not the only thing that tells it. */
export function signOf(status: string): string {
  return signs[status] ?? "·";
}

interface Box {
  readonly task: ReportTask;
  readonly x: number;
  readonly y: number;
}

interface Column {
  readonly wave: number;
  readonly tasks: readonly ReportTask[];
  /** Tasks of the wave that are not drawn. */
  readonly leftOut: number;
}

/** Draws the graph, or those of its tasks that say most. */
export function drawGraph(data: ReportData): string {
  const shown = chooseTasks(data.tasks, tasksMax);
  const columns = inOrder(columnsOf(data, shown));
  const rows = Math.max(
    1,
    ...columns.map(({ tasks, leftOut }) => tasks.length + (leftOut > 0 ? 1 : 0)),
  );
  const innerHeight = rows * (boxHeight + gapY) - gapY;
  const boxes = new Map<string, Box>();
  const heads: string[] = [];
  for (const [at, { wave, tasks, leftOut }] of columns.entries()) {
    const x = margin + at * (boxWidth + gapX);
    const height = (tasks.length + (leftOut > 0 ? 1 : 0)) * (boxHeight + gapY) - gapY;
    const y = top + (innerHeight - height) / 2;
    heads.push(`<text class="soft mid" x="${x + boxWidth / 2}" y="22">wave ${wave + 1}</text>`);
    for (const [row, task] of tasks.entries())
      boxes.set(task.plan.name, { task, x, y: y + row * (boxHeight + gapY) });
    if (leftOut > 0) {
      const moreY = y + tasks.length * (boxHeight + gapY) + boxHeight / 2 + 4;
      heads.push(
        `<text class="soft mid" x="${x + boxWidth / 2}" y="${moreY}">and ${counted(leftOut, "task")} more</text>`,
      );
    }
  }
  const width = 2 * margin + columns.length * (boxWidth + gapX) - gapX;
  const height = top + innerHeight + margin;
  return [
    `<svg class="graph" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="the graph of the tasks">`,
    ...heads,
    ...drawEdges(data, boxes),
    ...[...boxes.values()].map((box) => drawBox(box, data.rows.get(box.task))),
    "</svg>",
  ].join("\n");
}

/** How many tasks the graph leaves out. */
export function leftOutOfGraph(data: ReportData): number {
  return Math.max(0, data.tasks.length - tasksMax);
}

function columnsOf(data: ReportData, shown: readonly ReportTask[]): Column[] {
  const byWave = new Map<number, ReportTask[]>();
  const sizes = new Map<number, number>();
  for (const { plan } of data.tasks) sizes.set(plan.wave, (sizes.get(plan.wave) ?? 0) + 1);
  for (const task of shown) {
    const wave = byWave.get(task.plan.wave);
    if (wave === undefined) byWave.set(task.plan.wave, [task]);
    else wave.push(task);
  }
  return [...byWave]
    .toSorted(([a], [b]) => a - b)
    .map(([wave, tasks]) => ({ wave, tasks, leftOut: (sizes.get(wave) ?? 0) - tasks.length }));
}

// Each task near those that it comes after: the mean of their places, as layered drawings do it. Once forwards and once
// backwards leaves few crossings.
function inOrder(columns: readonly Column[]): Column[] {
  const places = new Map<string, number>();
  const place = ({ tasks }: Column): void => {
    for (const [row, { plan }] of tasks.entries())
      places.set(plan.name, (row + 0.5) / tasks.length);
  };
  columns.forEach(place);
  const sorted = (column: Column, side: "after" | "before"): Column => {
    const weighted = column.tasks.map((task) => {
      const near = task.plan[side].flatMap((name) => places.get(name) ?? []);
      const sum = near.reduce((a, b) => a + b, 0);
      return { task, at: near.length > 0 ? sum / near.length : (places.get(task.plan.name) ?? 0) };
    });
    const tasks = weighted
      .toSorted((a, b) => a.at - b.at || a.task.index - b.task.index)
      .map(({ task }) => task);
    place({ ...column, tasks });
    return { ...column, tasks };
  };
  const forwards = columns.map((column) => sorted(column, "after"));
  const backwards = forwards.toReversed().map((column) => sorted(column, "before"));
  return backwards.toReversed();
}

function drawEdges(data: ReportData, boxes: ReadonlyMap<string, Box>): string[] {
  const makers = new Map<string, string>();
  for (const { plan } of data.tasks)
    for (const ref of plan.outputs) makers.set(ref.name, plan.name);
  const paths: string[] = [];
  const labels: string[] = [];
  for (const to of boxes.values()) {
    const { after, inputs } = to.task.plan;
    for (const before of after) {
      const from = boxes.get(before);
      if (from === undefined) continue;
      const names = inputs.filter((ref) => makers.get(ref.name) === before).map((ref) => ref.name);
      paths.push(`<path class="edge" d="${curve(from, to)}"/>`);
      if (names.length > 0) labels.push(labelOf(names, from, to));
    }
  }
  // What is marked is drawn over the rest, and what is written over both.
  return [...paths, ...drawSteps(data, boxes), ...(paths.length <= labelledEdgesMax ? labels : [])];
}

// The critical path. Dashed where it was not a dependency that let a task wait, but the wave.
function drawSteps({ path }: ReportData, boxes: ReadonlyMap<string, Box>): string[] {
  return path.steps.flatMap(({ name, after }, index) => {
    const from = boxes.get(path.steps[index - 1]?.name ?? "");
    const to = boxes.get(name);
    if (from === undefined || to === undefined) return [];
    return [
      `<path class="edge critical${after === "wave" ? " barrier" : ""}" d="${curve(from, to)}"/>`,
    ];
  });
}

function curve(from: Box, to: Box): string {
  const [x1, y1] = [from.x + boxWidth, from.y + boxHeight / 2];
  const [x2, y2] = [to.x, to.y + boxHeight / 2];
  const bend = Math.max(gapX / 2, (x2 - x1) / 2);
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}

function labelOf(names: readonly string[], from: Box, to: Box): string {
  // Two thirds of the way, where curves that cross in the middle are apart.
  const start = from.x + boxWidth;
  const x = fixed(start + (to.x - start) * 0.62);
  const y = fixed(from.y + boxHeight / 2 + (to.y - from.y) * 0.68 - 4);
  const text = names.length > 2 ? `${names.length} outputs` : names.join(", ");
  return `<text class="data mid" x="${x}" y="${y}">${escaped(shortened(text, 16))}</text>`;
}

function drawBox({ task, x, y }: Box, row: number | undefined): string {
  const { plan, result, isCritical, tookMs, restoredMs } = task;
  const without = restoredMs === undefined ? result.status : "taken over";
  const note = [
    tookMs === undefined ? without : formatMs(tookMs),
    ...(result.attempts > 1 ? [counted(result.attempts, "attempt")] : []),
  ].join(" · ");
  const why = result.because === undefined ? "" : ` because of ${shortened(result.because, 80)}`;
  const drawn = [
    `<g class="box ${result.status}${isCritical ? " critical" : ""}">`,
    `<title>${escaped(`${shortened(plan.name, 200)}: ${result.status}${why}, ${note}`)}</title>`,
    `<rect class="frame" x="${x}" y="${y}" width="${boxWidth}" height="${boxHeight}" rx="9"/>`,
    `<rect class="status" x="${x + 8}" y="${y + 10}" width="4" height="${boxHeight - 20}" rx="2"/>`,
    `<text class="name" x="${x + 20}" y="${y + 20}">${escaped(shortened(plan.name, nameMax))}</text>`,
    `<text class="soft small" x="${x + 20}" y="${y + 36}">${escaped(note)}</text>`,
    `<text class="sign" x="${x + boxWidth - 12}" y="${y + 36}">${signOf(result.status)}</text>`,
    "</g>",
  ].join("");
  return linked(drawn, row);
}

function fixed(value: number): string {
  return String(Number(value.toFixed(1)));
}
