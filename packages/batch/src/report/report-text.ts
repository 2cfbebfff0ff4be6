/** The parts of a report that are words and tables. */
import { signOf } from "./draw-graph.ts";
import {
  hasFailed,
  linked,
  restoredText,
  type ReportData,
  type ReportTask,
} from "./report-data.ts";
import {
  counted,
  describeFailure,
  escaped,
  formatBytes,
  formatCount,
  formatMs,
  shortened,
} from "./visible-text.ts";

const nameMax = 120;
const messageMax = 300;
const failuresMax = 40;
const attemptsMax = 8;
const skippedNamesMax = 12;
const stepsMax = 40;

/** A name, for a page. */
function shownName(name: string): string {
  return escaped(shortened(name, nameMax));
}

function shownFailure(error: unknown): string {
  return escaped(shortened(describeFailure(error), messageMax));
}

/** What the run came to, at a glance. */
export function tiles({ result, path, tasks: all }: ReportData): string {
  const { tasks, succeeded, leases, bytes, elapsedMs, teardownMs, renewals } = result;
  const retries = tasks.reduce((sum, { retriesUsed }) => sum + retriesUsed, 0);
  const restored = all.filter(({ restoredMs }) => restoredMs !== undefined).length;
  const more = [
    ...(retries === 0 ? [] : [counted(retries, "retry").replace(/retrys$/, "retries")]),
    ...(restored === 0 ? [] : [`${formatCount(restored)} ${restoredText}`]),
  ];
  const ended = (["expired", "released", "revoked", "fenced", "active"] as const)
    .filter((how) => leases[how] > 0)
    .map((how) => `${formatCount(leases[how])} ${how}`);
  const away = (["kept", "fenced", "active"] as const)
    .filter((where) => bytes[where] > 0)
    .map((where) => `${formatBytes(bytes[where])} ${where}`);
  const isBack = away.length === 0 && bytes.returned === bytes.leased;
  const figures: readonly (readonly [figure: string, about: string])[] = [
    [
      `${formatCount(succeeded)} of ${formatCount(tasks.length)}`,
      `${tasks.length === 1 ? "task" : "tasks"} succeeded${more.map((one) => `, ${one}`).join("")}`,
    ],
    [formatMs(elapsedMs), `of work, then ${formatMs(teardownMs)} of teardown`],
    [formatMs(path.leastMs), "is the least that dependencies allow"],
    [
      formatCount(leases.granted),
      `${leases.granted === 1 ? "lease" : "leases"} granted${ended.length === 0 ? "" : `: ${ended.join(", ")}`}`,
    ],
    [formatCount(renewals), renewals === 1 ? "renewal" : "renewals"],
    [
      formatBytes(bytes.leased),
      `leased, at most ${formatBytes(bytes.peakLeased)} at a time; ${isBack ? "every byte is back" : `${formatBytes(bytes.returned)} are back${away.length === 0 ? "" : `, ${away.join(", ")}`}`}`,
    ],
    ...(bytes.spilled + bytes.unspilled === 0
      ? []
      : [
          [
            formatBytes(bytes.spilled),
            `of outputs moved to blocks, ${formatBytes(bytes.unspilled)} read back`,
          ] as const,
        ]),
  ];
  const shown = figures.map(
    ([figure, about]) => `<div class="tile"><b>${figure}</b><span>${about}</span></div>`,
  );
  return `<div class="tiles">${shown.join("\n")}</div>`;
}

/** The chain of tasks that took the run's time. */
export function chain({ path, byName, rows }: ReportData): string {
  const { steps, elapsedMs, leastMs } = path;
  if (steps.length === 0) return "";
  const whole = Math.max(elapsedMs, 1);
  let atMs = 0;
  const places = steps.map((step) => {
    const fromMs = atMs + step.waitedMs;
    atMs = fromMs + step.tookMs;
    return { step, waitFromMs: fromMs - step.waitedMs, fromMs };
  });
  // Of a long chain, the steps that took longest; in order.
  const shown = places
    .toSorted((a, b) => b.step.tookMs + b.step.waitedMs - a.step.tookMs - a.step.waitedMs)
    .slice(0, stepsMax)
    .toSorted((a, b) => a.fromMs - b.fromMs);
  const percent = (ms: number): string => `${Number(((ms / whole) * 100).toFixed(2))}%`;
  const lines = shown.map(({ step, waitFromMs, fromMs }) => {
    const { name, tookMs, waitedMs, after } = step;
    const wait =
      waitedMs > 0 ? `<u style="left:${percent(waitFromMs)};width:${percent(waitedMs)}"></u>` : "";
    const waited = waitedMs > 0 ? `, after ${formatMs(waitedMs)} of waiting` : "";
    const why = after === "wave" ? " (its wave was next)" : "";
    const task = byName.get(name);
    const row = task === undefined ? undefined : rows.get(task);
    return `<b>${linked(shownName(name), row)}</b><div class="track">${wait}<i style="left:${percent(fromMs)};width:${percent(tookMs)}"></i></div><span>${formatMs(tookMs)}${waited}${why}</span>`;
  });
  const waitedMs = steps.reduce((sum, step) => sum + step.waitedMs, 0);
  const left = steps.length - shown.length;
  return [
    "<section><h2>Critical path</h2>",
    `<div class="chain">${lines.join("\n")}</div>`,
    `<p class="note">${counted(steps.length, "task")} in turn took ${formatMs(elapsedMs)}, of which ${formatMs(waitedMs)} was waiting. By the dependencies alone, the tasks as long as they took, the run needs ${formatMs(leastMs)}.${left > 0 ? ` The ${formatCount(left)} shortest steps are not shown.` : ""}</p></section>`,
  ].join("\n");
}

/** What failed, attempt by attempt, and what was skipped because of it. Empty where nothing did. */
export function failures({ tasks, rows }: ReportData): string {
  const skipped = new Map<string, string[]>();
  for (const { plan, result } of tasks) {
    if (result.because === undefined) continue;
    const names = skipped.get(result.because);
    if (names === undefined) skipped.set(result.because, [plan.name]);
    else names.push(plan.name);
  }
  const told = tasks.filter(
    ({ plan, result }) => result.errors.length > 0 || skipped.has(plan.name),
  );
  if (told.length === 0) return "";
  const worst = told
    .toSorted((a, b) => Number(hasFailed(b)) - Number(hasFailed(a)) || a.index - b.index)
    .slice(0, failuresMax);
  const items = worst.map((task) =>
    failure(task, skipped.get(task.plan.name) ?? [], rows.get(task)),
  );
  const left = told.length - worst.length;
  return `<section><h2>Failures and retries</h2><ul class="causes">${items.join("\n")}</ul>${left > 0 ? `<p class="note">${counted(left, "task")} more had failed attempts.</p>` : ""}</section>`;
}

function failure(
  { plan, result }: ReportTask,
  skipped: readonly string[],
  row: number | undefined,
): string {
  const { status, errors } = result;
  const last = errors.length <= attemptsMax ? errors : errors.slice(-attemptsMax);
  const attempts = last.map(
    ({ attempt, error }) => `<li value="${attempt}">${shownFailure(error)}</li>`,
  );
  const earlier = errors.length - last.length;
  const names = skipped.slice(0, skippedNamesMax).map(shownName);
  const more = skipped.length - names.length;
  return [
    `<li>${linked(`<b class="is-${status}">${signOf(status)} ${shownName(plan.name)}</b>`, row)} ${status}`,
    attempts.length === 0 ? "" : `<ol>${attempts.join("")}</ol>`,
    earlier > 0 ? `<p class="note">${counted(earlier, "earlier attempt")} not shown</p>` : "",
    names.length === 0
      ? ""
      : `<p>Skipped because of it: ${names.join(", ")}${more > 0 ? ` and ${formatCount(more)} more` : ""}</p>`,
    "</li>",
  ].join("");
}

/** A row a task. */
export function table(data: ReportData): string {
  const shown = [...data.rows.keys()];
  const left = data.tasks.length - shown.length;
  const rows = shown.map((task) => tableRow(task, data.startMs));
  return [
    `<section><h2>${counted(data.tasks.length, "task")}</h2><div class="scroll"><table>`,
    '<thead><tr><th>task</th><th>outcome</th><th class="number">wave</th><th class="number">attempts</th><th class="number">started</th><th class="number">took</th><th class="number">slack</th><th>why</th></tr></thead>',
    `<tbody>${rows.join("\n")}</tbody></table></div>`,
    left > 0
      ? `<p class="note">${counted(left, "task")} not shown: rows go to what failed, to the critical path, to what was tried again and to what took longest.</p>`
      : "",
    "</section>",
  ].join("\n");
}

function tableRow(task: ReportTask, startMs: number): string {
  const { index, plan, result, isCritical, tookMs, slackMs, restoredMs } = task;
  const { status, attempts, startedAtMs, because, error } = result;
  const why =
    because !== undefined
      ? `because of ${shownName(because)}`
      : error === undefined
        ? restoredMs === undefined
          ? ""
          : restoredText
        : shownFailure(error);
  return [
    `<tr id="task-${index}"${isCritical ? ' class="critical"' : ""}>`,
    `<td class="name">${shownName(plan.name)}</td>`,
    `<td class="is-${status}">${signOf(status)} ${status}</td>`,
    cell(String(plan.wave + 1)),
    cell(String(attempts)),
    timeCell(startedAtMs === undefined ? undefined : Math.max(0, startedAtMs - startMs)),
    timeCell(tookMs),
    timeCell(slackMs),
    `<td class="why">${why}</td></tr>`,
  ].join("");
}

function cell(text: string): string {
  return `<td class="number">${text}</td>`;
}

function timeCell(ms: number | undefined): string {
  return cell(ms === undefined ? "" : formatMs(ms));
}
