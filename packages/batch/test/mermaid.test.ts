import { TaskGraph, type TaskDef } from "@selvage/batch";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { idle, planOf, raw } from "./rig.ts";

const hardNames = [
  'say "no"',
  "a[b](c){d}",
  "line\nbreak\r\n",
  "end",
  "subgraph x",
  "#quot;#35;",
  "</script><script>alert(1)</script>",
  "a --> b; c",
  "%% comment",
  "style x:red#fff;",
  "`markdown`",
  "größe 数 🧵 é",
  "\u202Eevil",
  "half \uD800 pair",
  " ",
  "t0",
  "a|b|c",
  "a & b < c",
];

// What a label may hold: see `quoted`. A reference is a number.
const label = /^(?:[\p{L}\p{M}\p{N} _.,/+-]|#\d+;|<br\/>)*$/u;
const lines = [
  /^flowchart LR$/,
  /^ {2}subgraph w\d+\["wave \d+"\]$/,
  /^ {2}end$/,
  /^ {4}t\d+(?:\["([^"]*)"\]|\{\{"([^"]*)"\}\})$/,
  /^ {2}t\d+ (?:-->|-\.->)(?:\|"([^"]*)"\|)? t\d+$/,
];

/** Reads a chart back; fails where a line is none of those that we write, or a label holds what it may not. */
function labelsOf(chart: string): string[] {
  expect(chart.endsWith("\n")).toBe(true);
  const labels: string[] = [];
  for (const line of chart.slice(0, -1).split("\n")) {
    const match = lines.map((one) => one.exec(line)).find((one) => one !== null);
    expect(match, line).toBeDefined();
    const text = match?.slice(1).find((one) => one !== undefined);
    if (text === undefined) continue;
    expect(text).toMatch(label);
    labels.push(
      text.replaceAll(/#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code))),
    );
  }
  return labels;
}

describe("plan.toMermaid()", () => {
  it("draws a diamond: waves as subgraphs, data on the edges, what tasks need in their labels", () => {
    const plan = planOf(
      [
        idle("extract", { outputs: [raw("rows")], retries: 2 }),
        {
          name: "aggregate",
          inputs: [raw("rows")],
          outputs: [raw("sums")],
          resourceReq: { minMemoryBytes: 12 << 20, threads: 2 },
          run: new URL("./aggregate.ts", "file:///"),
        },
        idle("enrich"),
        idle("load", { inputs: [raw("sums"), raw("rows")], retries: 1 }),
      ],
      [
        ["extract", "aggregate"],
        ["extract", "enrich"],
        ["aggregate", "load"],
        ["enrich", "load"],
      ],
    );
    expect(plan.toMermaid()).toBe(
      [
        "flowchart LR",
        '  subgraph w0["wave 1"]',
        '    t0["extract<br/>2 retries"]',
        "  end",
        '  subgraph w1["wave 2"]',
        '    t1{{"aggregate<br/>12 MiB, 2 threads"}}',
        '    t2["enrich"]',
        "  end",
        '  subgraph w2["wave 3"]',
        '    t3["load<br/>1 retry"]',
        "  end",
        '  t0 -->|"rows"| t1',
        "  t0 --> t2",
        '  t1 -->|"sums"| t3',
        "  t2 --> t3",
        '  t0 -.->|"rows"| t3',
        "",
      ].join("\n"),
    );
  });

  it("is a chart without nodes for an empty plan", () => {
    expect(new TaskGraph().build().toMermaid()).toBe("flowchart LR\n");
  });

  it("shows hard names, and lets none of them become syntax", () => {
    const tasks: TaskDef[] = hardNames.map((name) => idle(name, { outputs: [raw(name)] }));
    const last = idle("reader", { inputs: hardNames.map(raw) });
    const edges = hardNames.map((name) => [name, "reader"] as const);
    const shown = labelsOf(planOf([...tasks, last], edges).toMermaid());
    expect(shown).toContain('say "no"');
    expect(shown).toContain("line↵break␍↵");
    expect(shown).toContain("</script><script>alert(1)</script>");
    expect(shown).toContain("größe 数 🧵 é");
    expect(shown).toContain("\uFFFDevil");
    expect(shown).toContain("half \uFFFD pair");
  });

  it("keeps its form for any names, and gives the same text each time", () => {
    const names = fc.uniqueArray(fc.string({ unit: "binary", minLength: 1 }), { minLength: 1 });
    fc.assert(
      fc.property(names, (some) => {
        const plan = planOf(
          some.map((name) => idle(name)),
          some.slice(1).map((name, index) => [some[index] as string, name] as const),
        );
        const chart = plan.toMermaid();
        expect(labelsOf(chart)).toHaveLength(some.length);
        expect(plan.toMermaid()).toBe(chart);
      }),
    );
  });
});
