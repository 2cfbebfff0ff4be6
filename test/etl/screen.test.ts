import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { commandLine, Folder, inTurn, ROWS, runJson, runProcess, startProgram } from "./rig.ts";
import { textsOf } from "./xml.ts";

const quick = ["--rows", String(ROWS), "--ttl-ms", "1000"];
const escape = "\u001B";
const spans = ["wave 1", "wave 2", "wave 3", "extract", "aggregate", "enrich", "load"];
const leaseNames = [
  "extract/flights",
  "aggregate/origins",
  "aggregate/routes",
  "enrich/places",
  "enrich/greatCircles",
];
// Of util-linux: runs a program on a terminal of its own.
const terminal = "script";
const hasTerminal = spawnSync(terminal, ["--version"]).stdout?.includes("util-linux") ?? false;

/** Names in the order in which they come, with those of what is below them. */
function shape(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return Object.fromEntries(Object.entries(value).map(([name, below]) => [name, shape(below)]));
}

const leaf = undefined;
const documented = {
  status: leaf,
  waves: leaf,
  succeeded: leaf,
  failed: leaf,
  skipped: leaf,
  cancelled: leaf,
  timedOut: leaf,
  tasks: leaf,
  renewals: leaf,
  leases: {
    granted: leaf,
    expired: leaf,
    released: leaf,
    revoked: leaf,
    fenced: leaf,
    active: leaf,
  },
  bytes: {
    leased: leaf,
    returned: leaf,
    kept: leaf,
    fenced: leaf,
    active: leaf,
    peakLeased: leaf,
    spilled: leaf,
    unspilled: leaf,
  },
  rows: { read: leaf },
  output: { path: leaf },
  rssPeakMiB: leaf,
  elapsedMs: leaf,
  teardownMs: leaf,
};

describe.concurrent("what npm run etl prints", { timeout: 120_000 }, () => {
  it.each([
    ["that succeeds", 0, []],
    ["that fails", 1, ["--fail", "load"]],
  ])(
    "ends, with --json, in one document with the documented fields, for a run %s",
    async (_, exit, args) => {
      using folder = new Folder();
      const { code, document, stdout, stderr } = await runJson(
        ...quick,
        "--out",
        folder.path,
        ...args,
      );
      expect(code).toBe(exit);
      expect(stdout.trimEnd().endsWith("}")).toBe(true);
      expect(shape(document)).toStrictEqual(documented);
      expect(document).toMatchObject({
        waves: [["extract"], ["aggregate", "enrich"], ["load"]],
        succeeded: 4 - exit,
        failed: exit,
        skipped: 0,
        cancelled: 0,
        timedOut: 0,
      });
      expect(document.bytes.peakLeased).toBeGreaterThanOrEqual(12 * ROWS);
      // What people read goes elsewhere.
      expect(stderr).toContain("lease ledger");
    },
  );

  it("is plain lines where stdout is no terminal", async () => {
    using folder = new Folder();
    const { code, stdout, stderr } = await runProcess(...quick, "--out", folder.path);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).not.toContain(escape);
    expect(stdout).not.toContain("\r");
    const lines = stdout.split("\n");
    const told = lines.flatMap((line) => /^\[ *\d+\.\d\d s\] (.+)$/.exec(line)?.[1] ?? []);
    const shownOnce = ["wave 1: extract", "wave 2: aggregate, enrich", "wave 3: load"];
    const states = ["extract", "aggregate", "enrich", "load"].flatMap((name) => [
      `${name} started`,
      `${name} succeeded`,
    ]);
    expect(told.toSorted()).toEqual([...shownOnce, ...states, "settled: succeeded"].toSorted());
    const at = lines.indexOf("the ten worst airports");
    expect(lines[at + 1]).toMatch(/^ {2}iata +name +city +departures +mean delay +late$/);
    const worst = lines.slice(at + 2, at + 12).map((line) => /^ {2}([A-Z]{3}) /.exec(line)?.[1]);
    expect(new Set(worst).size).toBe(10);
    expect(worst).not.toContain(undefined);
    expect(lines[at + 12]).toBe("");
    for (const heading of ["lease ledger", "timeline"]) expect(lines).toContain(heading);
    const results = ["flights.sqlite", "timeline.svg", "report.html"];
    expect(lines.slice(-4)).toEqual([...results.map((name) => folder.at(name)), ""]);
  });

  // Without util-linux's `script` there is no terminal to be had from here.
  it.skipIf(!hasTerminal)(
    "is a list that moves, a countdown, and then ledger and timeline, on a terminal",
    async () => {
      using folder = new Folder();
      const line = commandLine([...quick, "--out", folder.path])
        .map((part) => `'${part}'`)
        .join(" ");
      const { code, stdout } = await inTurn(
        () => startProgram([terminal, "-qefc", `TERM=xterm ${line}`, "/dev/null"]).ended,
      );
      expect(code, stdout).toBe(0);
      expect(stdout).toContain(`${escape}[`);
      for (const name of spans) expect(stdout).toContain(name);
      const countdown = [...stdout.matchAll(/the leases lapse by themselves: (\d+\.\d\d) s/g)];
      const seconds = countdown.map(([, left]) => Number(left));
      expect(seconds.length).toBeGreaterThan(2);
      expect(seconds).toEqual(seconds.toSorted((a, b) => b - a));
      const headings = ["the ten worst airports", "the leases lapse", "lease ledger", "timeline"];
      const places = headings.map((heading) => stdout.indexOf(heading));
      expect(Math.min(...places)).toBeGreaterThan(0);
      expect(places).toEqual(places.toSorted((a, b) => a - b));
      for (const name of leaseNames) expect(stdout.slice(places.at(-1))).toContain(name);
    },
  );
});

describe("timeline.svg", { timeout: 120_000 }, () => {
  it("is well-formed, and shows every wave, task and lease with how it ended", async () => {
    using folder = new Folder();
    await runProcess(...quick, "--fail", "aggregate:1", "--out", folder.path);
    const texts = textsOf(readFileSync(folder.at("timeline.svg"), "utf8"));
    for (const name of [...spans, "aggregate (attempt 2)", ...leaseNames])
      expect(texts.filter((text) => text === name)).toEqual([name]);
    expect(texts.filter((text) => text.startsWith("expired, "))).toHaveLength(5);
    expect(texts.filter((text) => text.startsWith("succeeded in "))).toHaveLength(4);
    expect(texts.filter((text) => text.startsWith("failed in "))).toHaveLength(1);
  });
});

describe("the report", { timeout: 120_000 }, () => {
  it("is a page of the run beside its other results, with every task, lease and outcome", async () => {
    using folder = new Folder();
    const { code } = await runProcess(...quick, "--fail", "aggregate:1", "--out", folder.path);
    expect(code).toBe(0);
    const html = readFileSync(folder.at("report.html"), "utf8");
    expect(html.startsWith("<!doctype html>")).toBe(true);
    expect(html).toContain(`Wave ETL: ${ROWS.toLocaleString("en")} flights`);
    for (const name of leaseNames) expect(html).toContain(`>${name}</text>`);
    expect(html.match(/class="bar succeeded"/g)).toHaveLength(4);
    expect(html.match(/class="bar failed"/g)).toHaveLength(1);
    expect(html).toContain("tasks succeeded, 1 retry");
    expect(html).toContain("every byte is back");
  });

  it("goes where it is wanted, and is there of a run that fails, too", async () => {
    using folder = new Folder();
    const wanted = folder.at("pages", "run.html");
    const args = [...quick, "--out", folder.at("out"), "--report", wanted];
    const { code, stdout } = await runProcess(...args, "--fail", "load");
    expect(code).toBe(1);
    expect(stdout.trimEnd().split("\n").at(-1)).toBe(wanted);
    expect(folder.names()).toEqual(["pages", "pages/run.html"]);
    const html = readFileSync(wanted, "utf8");
    expect(html).toContain("Failures and retries");
    expect(html.match(/class="bar failed"/g)).toHaveLength(3);
  });

  it("is refused before the work where it can have no place", async () => {
    using folder = new Folder();
    const args = [...quick, "--out", folder.at("out"), "--report", folder.path];
    const { code, stdout, stderr } = await runProcess(...args);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^INVALID_ARGUMENT: --report: expected a file that can be written/);
    expect(folder.names()).toEqual([]);
  });
});
