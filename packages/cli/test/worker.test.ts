import { runCli } from "@selvage/cli";
import { JobQueue } from "@selvage/node";
import { describe, expect, it } from "vitest";
import { monitorLines, type MonitorState } from "../src/jobs/monitor-screen.ts";
import { cli, documentOf, folderOfOwn, Heard, inProcess, start } from "./rig.ts";

const own = folderOfOwn();

const tasks = own(
  "tasks.ts",
  `import { setTimeout as sleep } from "node:timers/promises";
import type { JobQueue } from "@selvage/node";

export default function register(queue: JobQueue): void {
  queue.task("add", async (_ctx, a: number, b: number) => a + b);
  queue.task("other", { queue: "others" }, () => "other");
  queue.task("waits", async (ctx, ms: number) => {
    ctx.updateProgress(40);
    await sleep(ms, undefined, { signal: ctx.signal as AbortSignal });
    return "waited";
  });
  queue.task("ignores", () => new Promise(() => setInterval(() => {}, 1_000)));
  queue.task("fails", { retries: 0 }, () => {
    throw new Error("no such host");
  });
}
`,
);

const hour = 3_600_000;

describe("selvage worker", () => {
  it("runs jobs until SIGTERM, tells of each, and ends in 0 when all that it began has ended", async () => {
    const db = own("drained.sqlite");
    await using queue = await JobQueue.open({ path: db });
    const sum = await queue.enqueue("add", [2, 3]);
    const dead = await queue.enqueue("fails", [], { retries: 0 });
    const others = await queue.enqueue("other", [], { queue: "others" });
    const worker = start(["worker", tasks, "--db", db, "--queues", "default", "--json"]);
    expect(await sum.result({ timeoutMs: 60_000 })).toBe(5);
    await worker.says(`dead fails ${dead.id} (attempt 1): no such host`);
    // This one's time is short: it ends while the worker drains.
    const brief = await queue.enqueue("waits", [500]);
    await worker.says(`started waits ${brief.id}`);
    worker.child.kill("SIGTERM");
    const ended = await worker.ended;
    expect(ended.code).toBe(0);
    expect(documentOf(ended)).toMatchObject({ status: "drained", completed: 2, handedBack: 0 });
    expect(await brief.result({ timeoutMs: 0 })).toBe("waited");
    expect(ended.stderr).toContain("worker: told to end");
    expect(ended.stderr).toContain(`completed add ${sum.id} (attempt 1)`);
    // Not one of its queues.
    expect((await others.refresh())?.status).toBe("pending");
    expect(await queue.workers()).toEqual([]);
  });

  it("hands back at SIGTERM what does not end in time, says so by its exit code, and another worker does it", async () => {
    const db = own("handed-back.sqlite");
    await using queue = await JobQueue.open({ path: db });
    const long = await queue.enqueue("waits", [hour]);
    const first = start(["worker", tasks, "--db", db, "--drain-ms", "50"]);
    await first.says(`started waits ${long.id}`);
    first.child.kill("SIGTERM");
    const ended = await first.ended;
    expect(ended.code).toBe(3);
    expect(ended.stdout).toMatch(/^worker: handed back: 0 completed, .* 1 handed back$/m);
    expect(ended.stderr).toContain(`handed-back waits ${long.id}`);
    expect(await long.refresh()).toMatchObject({ status: "pending", errors: [] });
    queue.task("waits", () => "done at once");
    void queue.runWorker();
    expect(await long.result({ timeoutMs: 60_000 })).toBe("done at once");
  });

  it("ends also under a body that ignores its signal", async () => {
    const db = own("ignored.sqlite");
    await using queue = await JobQueue.open({ path: db });
    const job = await queue.enqueue("ignores", []);
    const worker = start(["worker", tasks, "--db", db, "--drain-ms", "50"]);
    await worker.says(`started ignores ${job.id}`);
    worker.child.kill("SIGTERM");
    expect((await worker.ended).code).toBe(3);
    expect((await job.refresh())?.status).toBe("pending");
  });

  it("is followed by another worker when it is killed, once its lease is over", async () => {
    const db = own("killed.sqlite");
    await using queue = await JobQueue.open({ path: db });
    const long = await queue.enqueue("waits", [hour]);
    const killed = start(["worker", tasks, "--db", db, "--lease-ms", "500"]);
    await killed.says(`started waits ${long.id}`);
    killed.child.kill("SIGKILL");
    expect((await killed.ended).code).toBe(null);
    queue.task("waits", () => "done at once");
    void queue.runWorker();
    expect(await long.result({ timeoutMs: 60_000 })).toBe("done at once");
  });

  it.each([
    ["none.ts", "export const x = 1;\n", "INVALID_ARGUMENT", /exports no function `register`/],
    ["gone.ts", undefined, "NOT_FOUND", /there is no such file/],
    [
      "twice.ts",
      'export function register(queue) { queue.task("a", () => {}); queue.task("a", () => {}); }\n',
      "CONFLICT",
      /"a" was declared before/,
    ],
  ])("refuses %s with a typed error", async (name, text, code, what) => {
    const ended = await cli("worker", own(name, text), "--db", own(`${name}.sqlite`));
    expect([ended.code, ended.stdout]).toEqual([1, ""]);
    expect(ended.stderr).toMatch(new RegExp(`^selvage: ${code}: `));
    expect(ended.stderr).toMatch(what);
  });

  it("tells what is wrong with its options", async () => {
    const db = ["--db", own("wrong.sqlite")];
    expect((await inProcess("worker", tasks, ...db, "--queues", "a,,b")).code).toBe(2);
    expect((await inProcess("worker", tasks, ...db, "--concurrency", "0")).code).toBe(2);
    expect((await inProcess("worker", tasks, ...db, "--drain-ms", "-1")).code).toBe(2);
  });
});

describe("selvage monitor", () => {
  it("shows stats, running jobs with progress, workers and dead letters, once or as they change", async () => {
    const db = own("monitor.sqlite");
    await using queue = await JobQueue.open({ path: db });
    queue.task("fails", { retries: 0 }, () => {
      throw new Error("no such host");
    });
    queue.task("waits", async (ctx) => {
      ctx.updateProgress(40);
      await new Promise((resolve) =>
        ctx.signal.addEventListener("abort", () => resolve(undefined)),
      );
    });
    const watching = start(["monitor", "--db", db, "--every-ms", "50"]);
    await watching.says("0 pending, 0 running");
    const dead = await queue.enqueue("fails", []);
    const long = await queue.enqueue("waits", []);
    const worker = queue.runWorker({ drainMs: 0 });
    await watching.says("1 running, 0 complete, 0 failed, 1 dead");
    // A worker writes progress down now and then; what stands in the file is what others see.
    const progress = async () => (await queue.getJob(long.id))?.progress;
    await expect.poll(progress, { timeout: 50_000 }).toBe(40);
    const text = await cli("monitor", "--once", "--db", db);
    expect(text.code).toBe(0);
    expect(text.stdout).toMatch(/^default +0 +1 +0 +0 +1 +0$/m);
    expect(text.stdout).toContain(`▸ ████████░░░░░░░░░░░░  40 %  waits ${long.id}  attempt 1`);
    expect(text.stdout).toMatch(/^workers: 1\n.+ {2}1 running {2}up /m);
    expect(text.stdout).toMatch(new RegExp(`✕ fails ${dead.id} .* ago: no such host`));
    const document = documentOf(await cli("monitor", "--db", db, "--json"));
    expect(document).toMatchObject({
      stats: { running: 1, dead: 1 },
      running: [{ id: long.id, progress: 40 }],
      workers: [{ running: 1 }],
      deadLetters: [{ id: dead.id }],
    });
    watching.child.kill("SIGINT");
    expect((await watching.ended).code).toBe(0);
    await worker.stop();
  });

  it("is redrawn in place on a terminal, and leaves the last state when it is told to end", async () => {
    const db = own("terminal.sqlite");
    await using queue = await JobQueue.open({ path: db });
    await queue.enqueue("first", []);
    const stdout = Object.assign(new Heard(), { isTTY: true, columns: 60, rows: 20 });
    const ended = runCli(["monitor", "--every-ms", "20", "--db", db], { stdout, stderr: stdout });
    await expect.poll(() => stdout.text, { timeout: 50_000 }).toMatch(/^default {8}1 /m);
    await queue.enqueue("second", []);
    await expect.poll(() => stdout.text, { timeout: 50_000 }).toMatch(/default {8}2 /);
    process.emit("SIGINT", "SIGINT");
    expect(await ended).toBe(0);
    expect(stdout.text).toContain("\u001B[2K");
  });

  it("goes on a screen of any size, and says what is left out", () => {
    const stats = { pending: 1, running: 0, complete: 0, failed: 0, dead: 30, cancelled: 0 };
    const letters = Array.from({ length: 30 }, (_, at) => ({
      ...{ id: `id${at}`, taskName: "t", queue: "q", error: "e\u001B[2J".repeat(50), errors: [] },
      ...{ attempts: 1, metadata: undefined, notes: undefined, failedAt: 0 },
    }));
    const queues = [{ name: "q", isPaused: true, stats }];
    const state: MonitorState = {
      ...{ db: "x", atMs: 1_000, stats, queues, running: [], workers: [], deadLetters: letters },
    };
    for (const rows of [8, 12, 60])
      for (const columns of [40, 200]) {
        const lines = monitorLines(state, { columns, rows });
        expect(lines.length).toBeLessThanOrEqual(rows);
        expect(lines.every((line) => line.length <= columns)).toBe(true);
        expect(lines.join("")).not.toContain("\u001B");
        expect(lines.at(-1)).toMatch(rows < 60 ? / {2}… \d+ more$/ : /✕ t id29/);
      }
  });
});
