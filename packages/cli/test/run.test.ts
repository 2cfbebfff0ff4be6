import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { cli, documentOf, folderOfOwn, start } from "./rig.ts";

const own = folderOfOwn();

const head = 'import { TaskGraph } from "selvage";\nconst graph = new TaskGraph();\n';
const two = `${head}
const words = { name: "words", format: "raw" } as const;
const read = graph.addTask({ name: "read", outputs: [words], run: () => ({ words: new Uint8Array(8) }) });
const tally = graph.addTask({ name: "tally", inputs: [words], run: () => {} });
graph.addDependency(read, tally);
`;
const fine = own("fine.ts", `${two}export const plan = graph.build();\nconsole.log("loaded");\n`);
const broken = own(
  "broken.ts",
  `${head}
const a = graph.addTask({ name: "a", run: () => { throw new Error("no such\\nhost"); } });
const b = graph.addTask({ name: "b", run: () => {} });
graph.addDependency(a, b);
export default graph;
`,
);

interface Document {
  readonly status: string;
  readonly tasks: readonly { readonly name: string; readonly status: string }[];
  readonly bytes: Readonly<Record<string, number>>;
}

describe("selvage run", () => {
  it("runs a plan, shows it, and sums it up", async () => {
    const { code, stdout, stderr } = await cli("run", fine, "--teardown", "eager");
    expect(code).toBe(0);
    expect(stderr).toContain("settled: succeeded");
    expect(stdout).toMatch(/^TASK +STATUS +ATTEMPTS +TIME {2}WHY$/m);
    expect(stdout).toMatch(/^read +succeeded +1 /m);
    expect(stdout).toMatch(/^succeeded: 2 succeeded in /m);
  });

  it("gives one document, last on stdout, and writes the report", async () => {
    const report = own("report.html");
    const ended = await cli("run", fine, "--json", "--report", report, "--ttl-ms", "100");
    expect(ended.stdout.startsWith("loaded\n")).toBe(true);
    const { status, tasks, bytes } = documentOf(ended) as Document;
    expect([ended.code, status]).toEqual([0, "succeeded"]);
    expect(tasks).toMatchObject([
      { name: "read", status: "succeeded", attempts: 1 },
      { name: "tally", status: "succeeded", attempts: 1 },
    ]);
    expect(bytes["returned"]).toBe(bytes["leased"]);
    expect(readFileSync(report, "utf8")).toMatch(/^<!doctype html>[^]*fine\.ts[^]*tally/);
  });

  it("ends in 1 when the run did not complete, and says which task that began with", async () => {
    const { code, stdout } = await cli("run", broken, "--quiet");
    expect(code).toBe(1);
    expect(stdout).toMatch(/^a +failed +1 .*no such↵host$/m);
    expect(stdout).toMatch(/^b +skipped +0 +- +because of a$/m);
    const document = documentOf(await cli("run", broken, "--quiet", "--json"));
    expect(document).toMatchObject({
      status: "failed",
      tasks: [{ error: { message: "no such\nhost" } }, { status: "skipped", because: "a" }],
    });
  });

  it("cancels the run when it is told to end, and gives its bytes back first", async () => {
    const waits = own(
      "waits.ts",
      `${head}
graph.addTask({ name: "waits", run: ({ signal }) => new Promise((_, reject) => {
  console.log("waiting");
  const timer = setInterval(() => {}, 1_000);
  signal.addEventListener("abort", () => { clearInterval(timer); reject(new Error("told to end")); });
}) });
export const plan = () => graph.build();
const { signal } = new AbortController();
export const options = { graceMs: 10_000, teardown: "eager", signal };
`,
    );
    const running = start(["run", waits, "--json"]);
    await running.says("waiting");
    running.child.kill("SIGTERM");
    const ended = await running.ended;
    expect(ended.code).toBe(1);
    expect(documentOf(ended)).toMatchObject({ status: "cancelled", cancelled: 1 });
  });

  it.each([
    ["gone.ts", undefined, "NOT_FOUND", /there is no such file/],
    ["none.ts", "export const x = 1;\n", "INVALID_ARGUMENT", /exports no `plan`, `graph`/],
    ["throws.ts", 'throw new Error("at once");\n', "INVALID_ARGUMENT", /Cannot load .*: at once/],
    ["lacks.ts", 'import "not-installed-here";\n', "INVALID_ARGUMENT", /hint: install what/],
    ["enum.ts", "enum A { B }\nexport default A;\n", "INVALID_ARGUMENT", /no enum/],
    [
      "ring.ts",
      `${head}
const a = graph.addTask({ name: "a", run: () => {} });
const b = graph.addTask({ name: "b", run: () => {} });
graph.addDependency(a, b);
graph.addDependency(b, a);
export { graph };
`,
      "GRAPH_CYCLE",
      /a/,
    ],
  ])("refuses %s with a typed error", async (name, text, code, what) => {
    const ended = await cli("run", own(name, text));
    expect([ended.code, ended.stdout]).toEqual([1, ""]);
    expect(ended.stderr).toMatch(new RegExp(`^selvage: ${code}: `));
    expect(ended.stderr).toMatch(what);
  });

  it("tells when the report cannot be written", async () => {
    const ended = await cli("run", fine, "--quiet", "--report", own("no/such/folder.html"));
    expect(ended.code).toBe(1);
    expect(ended.stderr).toMatch(/^selvage: STORE_UNAVAILABLE: Cannot write .*ENOENT/);
  });
});
