import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { TASKS } from "../../examples/etl/job.ts";
import { Folder, FLIGHTS, ROWS, runJson, type Ended, type JobDocument } from "./rig.ts";

const slice = ["--rows", String(ROWS), "--ttl-ms", "1000"];
// Where it does not matter how the leases end.
const quick = [...slice, "--teardown", "eager"];

type Outcome = Ended & { readonly document: JobDocument };

const task = ({ document }: Outcome, name: string): JobDocument["tasks"][number] | undefined =>
  document.tasks.find((found) => found.name === name);

const statuses = ({ document }: Outcome): Record<string, string> =>
  Object.fromEntries(document.tasks.map(({ name, status }) => [name, status]));

/** Nothing is left: no lease, no byte, no file, and none of the folders that the run made. */
function checkNothingLeft({ document }: Outcome, folder: Folder, before: string[] = []): void {
  const { leases, bytes } = document;
  expect([leases.active, leases.fenced, bytes.active]).toEqual([0, 0, 0]);
  expect(bytes.returned).toBe(bytes.leased);
  expect(document.output.path).toBeNull();
  expect(folder.names()).toEqual(before);
}

describe.concurrent("npm run etl -- --fail", { timeout: 120_000 }, () => {
  it("aggregate:2 succeeds with two retries of aggregate", async () => {
    using folder = new Folder();
    const run = await runJson(...slice, "--fail", "aggregate:2", "--out", folder.at("out"));
    expect([run.code, run.document.status]).toEqual([0, "succeeded"]);
    const retries = run.document.tasks.map(({ retriesUsed }) => retriesUsed);
    expect(retries).toEqual([0, 2, 0, 0]);
    expect(run.document.leases.active).toBe(0);
    expect(folder.names("out")).toContain("flights.sqlite");
  });

  const after: Record<string, Record<string, string>> = {
    extract: { extract: "failed", aggregate: "skipped", enrich: "skipped", load: "skipped" },
    aggregate: { extract: "succeeded", aggregate: "failed", enrich: "succeeded", load: "skipped" },
    enrich: { extract: "succeeded", aggregate: "succeeded", enrich: "failed", load: "skipped" },
    load: { extract: "succeeded", aggregate: "succeeded", enrich: "succeeded", load: "failed" },
  };

  it.each(TASKS)(
    "%s fails it in every attempt, skips what needs it, and leaves nothing",
    async (name) => {
      using folder = new Folder();
      const run = await runJson(...slice, "--fail", name, "--out", folder.at("a", "b", "out"));
      expect([run.code, run.document.status]).toEqual([1, "failed"]);
      expect(statuses(run)).toEqual(after[name]);
      expect(task(run, name)).toMatchObject({
        retriesUsed: 2,
        error: { code: null, message: `${name} fails on demand (attempt 3)` },
      });
      const causes = run.document.tasks.filter(({ status }) => status === "skipped");
      for (const { because } of causes) expect(because).toBe(name);
      checkNothingLeft(run, folder);
    },
  );
});

const whole = readFileSync(FLIGHTS);
const footerBytes = whole.readUInt32LE(whole.length - 8) + 8;

/** The file with its column of delays called by another name of the same length, in its footer. */
function withoutDelay(): Buffer {
  const copy = Buffer.from(whole);
  const start = copy.length - footerBytes;
  for (let at = copy.indexOf("delay", start); at >= 0; at = copy.indexOf("delay", at))
    copy.write("decay", at);
  return copy;
}

interface BrokenInput {
  readonly name: string;
  /** What the file holds; undefined: there is none. */
  readonly bytes?: () => Buffer;
  readonly code: string;
  readonly message: string;
}

const brokenInputs: readonly BrokenInput[] = [
  { name: "a missing file", code: "NOT_FOUND", message: "there is no file" },
  { name: "an empty file", bytes: () => Buffer.alloc(0), code: "DECODE", message: "is empty" },
  {
    name: "a file cut in the middle",
    bytes: () => whole.subarray(0, whole.length / 2),
    code: "DECODE",
    message: "not a parquet file",
  },
  {
    name: "a file cut near its end",
    bytes: () => whole.subarray(0, -1_000),
    code: "DECODE",
    message: "not a parquet file",
  },
  {
    // The footer is whole: the fault shows once the lease of the flights stands.
    name: "a file with its middle missing",
    bytes: () => Buffer.concat([whole.subarray(0, 100_000), whole.subarray(-footerBytes)]),
    code: "DECODE",
    message: "column ",
  },
  {
    name: "a text",
    bytes: () => Buffer.from("origin,destination,delay\n".repeat(1_000)),
    code: "DECODE",
    message: "not a parquet file",
  },
  {
    name: "a file without delays",
    bytes: withoutDelay,
    code: "DECODE",
    message: "no column delay",
  },
];

async function checkRefused(folder: Folder, input: string, wanted: BrokenInput): Promise<void> {
  const before = folder.names();
  const run = await runJson(...quick, "--input", input, "--out", folder.at("new", "out"));
  expect([run.code, run.document.status]).toEqual([1, "failed"]);
  const { error, retriesUsed } = task(run, "extract") ?? {};
  // No retry: the file stays as it is.
  expect([error?.code, retriesUsed]).toEqual([wanted.code, 0]);
  expect(error?.message).toContain(input);
  expect(error?.message).toContain(wanted.message);
  checkNothingLeft(run, folder, before);
}

describe.concurrent("npm run etl -- --input", { timeout: 120_000 }, () => {
  it.each(brokenInputs)(
    "$name ends in $code, which names the cause, and leaves nothing",
    async (wanted) => {
      using folder = new Folder();
      const input = folder.at("input.parquet");
      const bytes = wanted.bytes?.();
      if (bytes !== undefined) writeFileSync(input, bytes);
      await checkRefused(folder, input, wanted);
    },
  );

  it("a folder ends in DECODE, which names the cause, and leaves nothing", async () => {
    using folder = new Folder();
    await checkRefused(folder, folder.path, { name: "", code: "DECODE", message: "not a file" });
  });
});

describe.concurrent("npm run etl without the means", { timeout: 120_000 }, () => {
  it("--memory-mib 8 ends in CAPACITY_EXCEEDED, which says how much was asked for, and leaves nothing", async () => {
    using folder = new Folder();
    const run = await runJson("--memory-mib", "8", "--ttl-ms", "1000", "--out", folder.at("out"));
    expect([run.code, run.document.status]).toEqual([1, "failed"]);
    expect(task(run, "extract")?.error?.code).toBe("CAPACITY_EXCEEDED");
    expect(task(run, "extract")?.error?.message).toMatch(/360\d{5} bytes/);
    checkNothingLeft(run, folder);
  });

  it.skipIf(process.platform !== "linux")(
    "a folder that takes no files ends in STORE_UNAVAILABLE, and leaves no lease",
    async () => {
      // Not even root makes files there.
      const run = await runJson(...quick, "--out", "/proc");
      expect([run.code, run.document.status]).toEqual([1, "failed"]);
      expect(task(run, "load")?.error).toMatchObject({
        code: "STORE_UNAVAILABLE",
        message: expect.stringContaining("/proc/flights.sqlite") as string,
      });
      expect(run.document.leases.active).toBe(0);
    },
  );

  const commands: readonly [string, readonly string[], string][] = [
    ["a task to fail that there is not", ["--fail", "nothing"], "--fail"],
    ["a number of rows that is none", ["--rows", "many"], "--rows"],
    ["a teardown that there is not", ["--teardown", "later"], "--teardown"],
    ["more memory than there are numbers for", ["--memory-mib", "99999999999"], "memoryBytes"],
  ];

  it.each(commands)(
    "%s ends in one JSON document with INVALID_ARGUMENT, and makes no folder",
    async (_name, args, named) => {
      using folder = new Folder();
      const { code, document, stderr } = await runJson("--out", folder.at("a", "b"), ...args);
      expect(code).toBe(2);
      expect(document).toEqual({
        status: "failed",
        error: { code: "INVALID_ARGUMENT", message: expect.stringContaining(named) as string },
      });
      expect(stderr.trimEnd()).toBe(`INVALID_ARGUMENT: ${document.error?.message}`);
      expect(folder.names()).toEqual([]);
    },
  );

  it("a file in the place of the folder ends in INVALID_ARGUMENT, and is left alone", async () => {
    using folder = new Folder();
    writeFileSync(folder.at("file"), "mine");
    for (const out of [folder.at("file"), folder.at("file", "below")]) {
      const { code, document } = await runJson(...quick, "--out", out);
      expect([code, document.error?.code]).toEqual([2, "INVALID_ARGUMENT"]);
      expect(document.error?.message).toContain(out);
    }
    expect(readFileSync(folder.at("file"), "utf8")).toBe("mine");
  });
});
