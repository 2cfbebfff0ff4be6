import { existsSync } from "node:fs";
import { JobQueue } from "@selvage/node";
import { describe, expect, it } from "vitest";
import { cli, documentOf, folderOfOwn, inProcess } from "./rig.ts";

const own = folderOfOwn();

interface JobDocument {
  readonly id: string;
  readonly status: string;
}

/** A queue that is filled in this process, and let go. */
async function filled<T>(db: string, work: (queue: JobQueue) => Promise<T>): Promise<T> {
  await using queue = await JobQueue.open({ path: db });
  return await work(queue);
}

/** The job of an id, as the queue has it now. */
function statusOf(db: string, id: string): Promise<string | undefined> {
  return filled(db, async (queue) => (await queue.getJob(id))?.status);
}

describe("selvage jobs enqueue", () => {
  it("makes the queue, and a job of a task that only workers know", async () => {
    const db = own("new.sqlite");
    const ended = await cli(
      ...["jobs", "enqueue", "resize", '"a.png"', "200", '{"fit":true}', "--db", db],
      ...["--priority", "-3", "--notes", '{"who":"me"}', "--metadata", "m", "--json"],
    );
    expect(ended.code).toBe(0);
    const { id } = documentOf(ended) as JobDocument;
    await filled(db, async (queue) => {
      expect(await queue.argsOf(id)).toEqual(["a.png", 200, { fit: true }]);
      const job = await queue.getJob(id);
      expect(job).toMatchObject({ taskName: "resize", priority: -3, status: "pending" });
      expect([job?.notes, job?.metadata]).toEqual([{ who: "me" }, "m"]);
    });
    const { code, stdout } = await cli("jobs", "enqueue", "resize", "--db", db, "--after", id);
    expect(code).toBe(0);
    const after = stdout.trim();
    await filled(db, async (queue) =>
      expect((await queue.getJob(after))?.dependencies).toEqual([id]),
    );
  });

  it("takes a task's own options from the module that declares it", async () => {
    const db = own("declared.sqlite");
    const tasks = own(
      "declares.ts",
      `export function register(queue: import("@selvage/node").JobQueue): void {
  queue.task("mail", { queue: "mails", priority: 7 }, () => {});
}\n`,
    );
    const ended = await cli("jobs", "enqueue", "mail", "--db", db, "--tasks", tasks, "--json");
    expect(documentOf(ended)).toMatchObject({ queue: "mails", priority: 7 });
  });

  it("waits for the end, where it is told to, and fails when that does not come", async () => {
    const db = own("waits.sqlite");
    await using queue = await JobQueue.open({ path: db });
    queue.task("add", async (_ctx, a: number, b: number) => a + b);
    queue.task("large", () => ({ count: 2n ** 60n }));
    queue.task("dies", { retries: 0 }, () => {
      throw new Error("no such host");
    });
    void queue.runWorker();
    const sum = await cli("jobs", "enqueue", "add", "2", "3", "--db", db, "--wait-ms", "60000");
    expect([sum.code, sum.stdout]).toEqual([0, "5\n"]);
    const large = await cli(
      ...["jobs", "enqueue", "large", "--db", db, "--wait-ms", "60000", "--json"],
    );
    expect(documentOf(large)).toMatchObject({ result: { count: String(2n ** 60n) } });
    const late = await cli("jobs", "enqueue", "other", "--db", db, "--wait-ms", "1", "--json");
    expect(late.code).toBe(1);
    expect(documentOf(late)).toMatchObject({ error: { code: "TIMED_OUT" }, status: "pending" });
    const dead = await cli(
      ...["jobs", "enqueue", "dies", "--db", db, "--retries", "0", "--wait-ms", "60000"],
    );
    expect(dead.code).toBe(1);
    expect(dead.stdout).toMatch(/^EXHAUSTED: .*no such host/);
  });

  it.each([
    [["jobs", "enqueue", "t", "text"], `a text has quotes of its own: '"text"'`],
    [["jobs", "enqueue", "t", "--notes", "[]"], "Expected an object."],
    [["jobs", "enqueue", "t", "--priority", "1.5"], "Expected a whole number."],
    [["jobs", "enqueue"], "missing required argument 'task'"],
    [["jobs", "lst"], "did you mean list?"],
    [["jobs", "list", "--status", "done"], "Allowed choices are pending, running"],
    [["jobs", "dead", "purge"], "'--older-than-ms <n>' not specified"],
  ])("tells what is wrong with %j", async (args, what) => {
    const ended = await inProcess(...args, "--db", own("none.sqlite"));
    expect([ended.code, ended.stdout]).toEqual([2, ""]);
    expect(ended.stderr).toContain(what);
    expect(existsSync(own("none.sqlite"))).toBe(false);
  });
});

describe("selvage jobs list, show, tree, cancel", () => {
  it("lists the newest first, by what is asked, page by page", async () => {
    const db = own("list.sqlite");
    const ids = await filled(db, async (queue) => {
      const made: string[] = [];
      for (const task of ["a", "b", "a"]) made.push((await queue.enqueue(task, [])).id);
      return made;
    });
    const all = documentOf(await cli("jobs", "list", "--db", db, "--json"));
    expect(all).toMatchObject({ jobs: ids.toReversed().map((id) => ({ id })) });
    const page = await cli(
      ...["jobs", "list", "--db", db, "--task", "a", "--limit", "1", "--before", ids[2] as string],
    );
    expect(page.stdout).toContain(ids[0] as string);
    expect(page.stdout).toContain(`there may be more: --before ${ids[0]}`);
    expect(page.stdout).not.toContain(ids[1] as string);
  });

  it("draws what a job waits for, each job once, and what waits for a job", async () => {
    const db = own("tree.sqlite");
    const [z, a, b, c, d] = await filled(db, async (queue) => {
      const source = await queue.enqueue("source", []);
      const first = await queue.enqueue("extract\u001B[2J", [], { dependsOn: source });
      const left = await queue.enqueue("left", [], { dependsOn: first });
      const right = await queue.enqueue("right", [], { dependsOn: first });
      const last = await queue.enqueue("load", [], { dependsOn: [left, right] });
      await queue.enqueue("after", [], { dependsOn: left });
      return [source.id, first.id, left.id, right.id, last.id] as const;
    });
    const down = await cli("jobs", "tree", d, "--db", db);
    expect(down.code).toBe(0);
    expect(down.stdout.trimEnd().split("\n")).toEqual([
      `○ load ${d} pending`,
      `├─ ○ left ${b} pending`,
      `│  └─ ○ extract\uFFFD[2J ${a} pending`,
      `│     └─ ○ source ${z} pending`,
      `└─ ○ right ${c} pending`,
      `   └─ ○ extract\uFFFD[2J ${a} pending (see above)`,
    ]);
    const up = documentOf(await cli("jobs", "tree", a, "--dependents", "--db", db, "--json"));
    expect(up).toMatchObject({
      id: a,
      children: [
        { id: b, children: [{ id: d, children: [] }, { taskName: "after" }] },
        { id: c, children: [{ id: d }] },
      ],
    });
    const { stdout, code } = await cli("jobs", "cancel", a, "--db", db);
    expect([code, stdout]).toEqual([0, `${a} is cancelled\n`]);
    expect(await statusOf(db, d)).toBe("cancelled");
    const shown = await cli("jobs", "show", d, "--db", db);
    expect(shown.stdout).toMatch(/^status +cancelled: /m);
    expect(shown.stdout).toContain(`${b}, ${c}`);
    const again = await cli("jobs", "cancel", a, "--db", db);
    expect(again.code).toBe(1);
    expect(again.stderr).toMatch(/^selvage: CONFLICT: .* it is cancelled/);
  });

  it.each([
    ["show", "nobody"],
    ["tree", "nobody"],
    ["cancel", "nobody"],
    ["list", "--before", "nobody"],
  ])("%s says that there is no such job", async (...args) => {
    const db = own(`no-${args[0]}.sqlite`);
    await filled(db, (queue) => queue.enqueue("a", []));
    const ended = await inProcess("jobs", ...args, "--db", db);
    expect([ended.code, ended.stdout]).toEqual([1, ""]);
    expect(ended.stderr).toMatch(/^selvage: NOT_FOUND: There is no job nobody\n {2}hint: /);
  });

  it("opens no file of something else, and makes none by a slip in a path", async () => {
    const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
    const other = own("other.sqlite");
    const database = new DatabaseSync(other);
    database.exec("CREATE TABLE mine (x)");
    database.close();
    const refused: readonly (readonly [string, string])[] = [
      [own("slip.sqlite"), "NOT_FOUND"],
      [other, "CONFLICT"],
      [own("text.sqlite", "hello, this is no database at all"), "CORRUPT_RECORD"],
      [own("."), "INVALID_ARGUMENT"],
    ];
    for (const [path, code] of refused) {
      const ended = await inProcess("jobs", "list", "--db", path);
      expect([ended.code, ended.stdout]).toEqual([1, ""]);
      expect(ended.stderr).toMatch(new RegExp(`^selvage: ${code}: `));
    }
    expect(existsSync(own("slip.sqlite"))).toBe(false);
    const without = await inProcess("jobs", "list");
    expect([without.code, without.stderr]).toEqual([2, expect.stringContaining("'--db <path>'")]);
  });
});

describe("selvage jobs dead", () => {
  it("lists and shows what failed for good, replays it with what it cancelled, and purges it", async () => {
    const db = own("dead.sqlite");
    const [dead, after] = await filled(db, async (queue) => {
      queue.task("dies", { retries: 0 }, () => {
        throw new TypeError("no such\nhost");
      });
      const one = await queue.enqueue("dies", []);
      const two = await queue.enqueue("dies", [], { dependsOn: one });
      void queue.runWorker();
      await expect(one.result()).rejects.toMatchObject({ code: "EXHAUSTED" });
      return [one.id, two.id] as const;
    });
    expect(await statusOf(db, after)).toBe("cancelled");
    const list = await cli("jobs", "dead", "list", "--db", db);
    expect(list.stdout).toMatch(new RegExp(`^${dead} +dies +default +1 .* no such↵host$`, "m"));
    const shown = documentOf(await cli("jobs", "dead", "show", dead, "--db", db, "--json"));
    expect(shown).toMatchObject({ id: dead, errors: [{ name: "TypeError", attempt: 1 }] });
    const replayed = await cli("jobs", "dead", "replay", dead, "--db", db);
    expect([replayed.code, replayed.stdout]).toEqual([0, `${dead} is pending\n`]);
    expect(await statusOf(db, after)).toBe("pending");
    const gone = await cli("jobs", "dead", "show", dead, "--db", db);
    expect([gone.code, gone.stderr]).toEqual([1, expect.stringContaining("NOT_FOUND")]);
    const again = await cli("jobs", "dead", "replay", dead, "--db", db);
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining("NOT_FOUND")]);
    const purged = await cli("jobs", "dead", "purge", "--older-than-ms", "0", "--db", db, "--json");
    expect(documentOf(purged)).toEqual({ purged: 0 });
  });
});

describe("selvage queues", () => {
  it("pauses and resumes a queue for all processes, and counts its jobs", async () => {
    const db = own("queues.sqlite");
    await using queue = await JobQueue.open({ path: db, pollMs: 50 });
    queue.task("quick", { queue: "quick" }, () => 1);
    expect(await cli("queues", "pause", "quick", "--db", db)).toMatchObject({
      code: 0,
      stdout: "quick is paused\n",
    });
    const job = await queue.enqueue("quick", []);
    void queue.runWorker();
    const { stdout } = await cli("queues", "stats", "--db", db);
    expect(stdout).toMatch(/^quick +1 +0 +0 +0 +0 +0 +paused$/m);
    const resumed = await cli("queues", "resume", "quick", "--db", db, "--json");
    expect(documentOf(resumed)).toEqual({ queue: "quick", isPaused: false });
    expect(await job.result({ timeoutMs: 50_000 })).toBe(1);
    const stats = documentOf(await cli("queues", "stats", "quick", "--db", db, "--json"));
    expect(stats).toMatchObject({
      stats: { complete: 1, pending: 0 },
      queues: [{ name: "quick", isPaused: false }],
    });
  });
});
