import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Fabric, JobQueue, readBlockFile } from "@selvage/node";
import { describe, expect, it } from "vitest";
import { checkNode } from "../src/doctor/host.ts";
import { leaveFile } from "./left-file.ts";
import { cli, documentOf, folderOfOwn, start } from "./rig.ts";

const own = folderOfOwn();

interface Diagnosis {
  readonly status: string;
  readonly findings: readonly {
    readonly status: string;
    readonly about: string;
    readonly details?: Readonly<Record<string, unknown>>;
  }[];
}

async function diagnosisOf(...args: readonly string[]): Promise<Diagnosis & { code: number }> {
  const ended = await cli("doctor", ...args, "--json");
  return { ...(documentOf(ended) as Diagnosis), code: ended.code as number };
}

describe("checkNode()", () => {
  it("refuses a Node that is older than the packages promise to run on", () => {
    const healths = ["20.20.2", "22.17.9", "22.18.0", "24.0.0"].map(
      (node) => checkNode(node).status,
    );
    expect(healths).toEqual(["failed", "failed", "ok", "ok"]);
  });
});

describe("selvage doctor", () => {
  it("looks at the machine", async () => {
    const { code, findings } = await diagnosisOf();
    expect(code).toBe(0);
    expect(findings.map(({ about }) => about)).toEqual([
      "node",
      "node:sqlite",
      "shared memory",
      "waiting",
    ]);
    const { stdout } = await cli("doctor");
    expect(stdout).toMatch(/^ok +node: \d+\.\d+\.\d+, \d+ threads$/m);
  });

  it("warns of expired leases whose bytes are not back, and gives them back when told to", async () => {
    const blockFile = await leaveFile(own("reaped"));
    const warned = await diagnosisOf(blockFile);
    expect([warned.code, warned.status]).toEqual([0, "warning"]);
    expect(warned.findings.at(-1)).toMatchObject({ details: { over: 1, bytes: 1024 } });
    const mended = await diagnosisOf(blockFile, "--reap");
    expect(mended.findings.at(-1)).toMatchObject({
      status: "ok",
      about: blockFile,
      details: { reaped: 1, bytes: 1024, left: 0 },
    });
    const { leases } = await readBlockFile(blockFile);
    expect(leases).toMatchObject([{ label: "long", state: "active" }]);
    expect(await diagnosisOf(blockFile, "--reap")).toMatchObject({ code: 0, status: "ok" });
  });

  it("leaves a file to the process that writes it, and says so", async () => {
    const blockFile = own("busy");
    await using fabric = Fabric.open({ blockFile, blocks: 64, tick: "manual" });
    const lease = await fabric.block().leaseMs(1).acquire();
    await sleep(5);
    const { code, findings } = await diagnosisOf(blockFile, "--reap");
    expect(code).toBe(0);
    expect(findings.at(-1)).toMatchObject({ status: "warning", details: { inUse: true } });
    const { leases } = await readBlockFile(blockFile);
    expect(leases.map(({ leaseId }) => leaseId)).toEqual([lease.leaseId]);
  });

  it("warns of silent workers, and gives their jobs to others when told to", async () => {
    const db = own("jobs.sqlite");
    await using queue = await JobQueue.open({ path: db });
    const job = await queue.enqueue("waits", []);
    expect(await diagnosisOf(db)).toMatchObject({ code: 0, status: "ok" });
    const tasks = own(
      "waits.ts",
      'export default (queue) => void queue.task("waits", () => new Promise(() => setInterval(() => {}, 1_000)));\n',
    );
    const worker = start(["worker", tasks, "--db", db, "--lease-ms", "300"]);
    await worker.says(`started waits ${job.id}`);
    worker.child.kill("SIGKILL");
    await worker.ended;
    await sleep(700);
    const warned = await diagnosisOf(db);
    expect(warned.findings.at(-1)).toMatchObject({ status: "warning", details: { jobs: 1 } });
    expect((await job.refresh())?.status).toBe("running");
    const mended = await diagnosisOf(db, "--reap");
    expect(mended.findings.at(-1)).toMatchObject({ status: "ok", details: { reaped: 1, left: 0 } });
    expect((await job.refresh())?.status).toBe("pending");
    expect(await queue.workers()).toEqual([]);
  });

  it("fails on what is damaged or not there, and looks at the rest all the same", async () => {
    const store = own("store");
    const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
    const database = new DatabaseSync(store);
    database.exec("PRAGMA page_size = 512; CREATE TABLE t (x TEXT); CREATE INDEX i ON t (x);");
    const insert = database.prepare("INSERT INTO t VALUES (?)");
    for (let row = 0; row < 200; row++) insert.run(`row ${row}`);
    database.close();
    const sound = await diagnosisOf(store);
    expect(sound.code).toBe(0);
    expect(sound.findings.at(-1)).toMatchObject({ details: { kind: "SQLite", tables: ["t"] } });
    const bytes = readFileSync(store);
    const torn = own("torn");
    writeFileSync(torn, bytes.fill(0xff, 512 * 3, 512 * 9));
    const { code, status, findings } = await diagnosisOf(own("gone"), torn, store, "--reap");
    expect([code, status]).toEqual([1, "failed"]);
    const about = findings.slice(4).map((finding) => [finding.about, finding.status]);
    expect(about).toEqual([
      [own("gone"), "failed"],
      [torn, "failed"],
      [store, "ok"],
    ]);
  });
});
