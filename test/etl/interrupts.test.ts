import { beforeAll, describe, expect, it } from "vitest";
import { compareDatabase } from "./compare.ts";
import { computeExpected, locateData } from "./oracle.ts";
import {
  commandLine,
  Folder,
  inTurn,
  processesWith,
  ROWS,
  startProgram,
  type Ended,
  type Started,
} from "./rig.ts";

/** How long the job may take to end after the signal, where telling its options takes it at most half a second. */
const afterSignalMsMax = 3_000;
let limitMs = 0;

beforeAll(async () => {
  const startedMs = performance.now();
  await startProgram(commandLine(["--help"])).ended;
  // In proportion, where other work keeps the machine busy.
  limitMs = afterSignalMsMax * Math.max(1, (performance.now() - startedMs) / 500);
});

const expected = computeExpected({ ...locateData(), rows: ROWS });

/** Loaded before the job: writes to descriptor 3 as soon as the job has a handler for SIGINT, so not before. */
const markHandler = `data:text/javascript,${encodeURIComponent(
  `import { writeSync } from "node:fs";
   process.on("newListener", (name) => void (name === "SIGINT" && writeSync(3, "handled ")));`,
)}`;

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

interface Interrupted extends Ended {
  readonly afterSignalMs: number;
}

/** Starts the job, waits for the moment, interrupts it, and waits for its end. */
async function interrupt(
  out: string,
  moment: { readonly shown?: string; readonly afterMs: number },
  interruption: (job: Started) => Promise<void> | void,
): Promise<Interrupted> {
  return inTurn(async () => {
    const args = ["--rows", String(ROWS), "--ttl-ms", "1500", "--out", out];
    const job = startProgram(commandLine(args, ["--import", markHandler]), true);
    if (moment.shown !== undefined) await job.shown(moment.shown);
    await pause(moment.afterMs);
    const startedMs = performance.now();
    await interruption(job);
    const ended = await job.ended;
    return { ...ended, afterSignalMs: performance.now() - startedMs };
  });
}

/** Nothing is half-written: no output at all, or all of it, and right. Nobody is left who could still write. */
async function checkLeftovers(folder: Folder): Promise<void> {
  const names = folder.names("out");
  const isWhole = names.includes("flights.sqlite");
  expect(names).toEqual(isWhole ? ["flights.sqlite", "report.html", "timeline.svg"] : []);
  const database = folder.at("out", "flights.sqlite");
  expect(isWhole ? compareDatabase(database, await expected) : []).toEqual([]);
  expect(isWhole || !folder.names().includes("out"), "the folder is gone").toBe(true);
  expect(processesWith(folder.path)).toEqual([]);
}

describe.concurrent("SIGINT", { timeout: 120_000 }, () => {
  const boot = [0, 30, 60, 100, 300].map((afterMs) => ({ afterMs }));

  it.each(boot)(
    "$afterMs ms after the start exits 130, or kills what has no handler yet",
    async (moment) => {
      using folder = new Folder();
      const ended = await interrupt(folder.at("out"), moment, (job) => job.kill("SIGINT"));
      // Node itself takes a while to get to the first line of the job. Until then the signal has its usual effect.
      const wanted = ended.marks === "" ? [null, "SIGINT"] : [130, null];
      expect([ended.code, ended.signal], ended.stderr).toEqual(wanted);
      expect(ended.afterSignalMs).toBeLessThan(limitMs);
      await checkLeftovers(folder);
    },
  );

  const shown = [
    { shown: "wave 1", afterMs: 0 },
    { shown: "extract started", afterMs: 100 },
    { shown: "extract succeeded", afterMs: 0 },
    { shown: "aggregate started", afterMs: 0 },
    { shown: "enrich succeeded", afterMs: 0 },
    { shown: "load started", afterMs: 0 },
    { shown: "settled", afterMs: 0 },
    { shown: "the leases lapse", afterMs: 100 },
  ];

  it.each(shown)(
    '$afterMs ms after "$shown" exits 130 with nothing half-written',
    async (moment) => {
      using folder = new Folder();
      const ended = await interrupt(folder.at("out"), moment, (job) => job.kill("SIGINT"));
      expect([ended.code, ended.signal, ended.stderr]).toEqual([130, null, ""]);
      expect(ended.stdout).toContain("active 0");
      expect(ended.afterSignalMs).toBeLessThan(limitMs);
      await checkLeftovers(folder);
    },
  );

  it("ends an extract of all rows before its last one", async () => {
    using folder = new Folder();
    const args = ["--out", folder.at("out"), "--ttl-ms", "1500"];
    const ended = await inTurn(async () => {
      const job = startProgram(commandLine(args));
      await job.shown("extract started");
      job.kill("SIGINT");
      return job.ended;
    });
    expect(ended.code).toBe(130);
    expect(ended.stdout).toContain("extract cancelled");
    await checkLeftovers(folder);
  });

  it("twice does not wait", async () => {
    using folder = new Folder();
    const moment = { shown: "extract started", afterMs: 0 };
    const ended = await interrupt(folder.at("out"), moment, async (job) => {
      job.kill("SIGINT");
      await pause(20);
      job.kill("SIGINT");
    });
    expect([ended.code, ended.signal]).toEqual([130, null]);
    expect(ended.afterSignalMs).toBeLessThan(limitMs);
    expect(folder.names("out")).toEqual([]);
    expect(processesWith(folder.path)).toEqual([]);
  });
});

describe("SIGTERM", { timeout: 120_000 }, () => {
  it("exits 143 with nothing half-written", async () => {
    using folder = new Folder();
    const moment = { shown: "aggregate started", afterMs: 0 };
    const ended = await interrupt(folder.at("out"), moment, (job) => job.kill("SIGTERM"));
    expect([ended.code, ended.signal, ended.stderr]).toEqual([143, null, ""]);
    await checkLeftovers(folder);
  });
});
