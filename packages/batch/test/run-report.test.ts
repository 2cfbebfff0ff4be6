import {
  RunRecorder,
  runReport,
  type ExecutionEvent,
  type ExecutionPlan,
  type ExecutionResult,
  type ExecutorOptions,
  type TaskDef,
} from "@selvage/batch";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ByteSeries } from "../src/report/byte-series.ts";
import {
  escaped,
  formatBytes,
  formatMs,
  formatUtc,
  shortened,
} from "../src/report/visible-text.ts";
import { readPage, type Page } from "./markup.ts";
import { idle, planOf, raw, Rig } from "./rig.ts";

const elementsWanted = new Set(
  "html head meta title style body main header h1 p span div b section h2 svg g rect path text circle a i u ul li ol table thead tbody tr th td footer".split(
    " ",
  ),
);
const hard = [
  "</script><script>alert(1)</script>",
  '" onload="alert(1)',
  "'><img src=x onerror=alert(1)>",
  "a\nb\u0000c",
  "\u202Egnp.exe",
  "half \uD83D",
  "größe 数 🧵",
  "<!-- -->",
  "]]>",
  "&amp;&#60;",
];

/** Reads a report; fails where it is not well-formed, holds what may act or load, or links to nowhere. */
function checked(html: string): Page {
  const page = readPage(html);
  const ids = new Set(page.elements.flatMap(({ attributes }) => attributes.get("id") ?? []));
  for (const { name, attributes } of page.elements) {
    expect(elementsWanted, name).toContain(name);
    for (const attribute of attributes.keys()) {
      expect(attribute).not.toMatch(/^on|^src$|^srcdoc$|^action$/);
    }
  }
  const targets = page.elements.flatMap(({ attributes }) => attributes.get("href") ?? []);
  for (const target of targets) expect(ids).toContain(/^#(task-\d+)$/.exec(target)?.[1]);
  expect(html).not.toMatch(/url\(|@import|https?:\/\/(?!www\.w3\.org\/2000\/svg)/);
  expect(html).not.toMatch(/NaN|undefined|Infinity/);
  return page;
}

async function reported(
  plan: ExecutionPlan,
  options: ExecutorOptions = {},
  rig: Rig = new Rig(),
): Promise<{ html: string; events: ExecutionEvent[]; result: ExecutionResult }> {
  const recorder = new RunRecorder();
  rig.events.length = 0;
  const result = await rig.run(plan, { ttlMs: 500, ...options, onEvent: recorder.onEvent });
  return { html: runReport(plan, recorder, result), events: rig.events, result };
}

/** A result as a run of `tookMs` a task would have given it, all at once. */
function resultOf(plan: ExecutionPlan, tookMs: (index: number) => number): ExecutionResult {
  const tasks = plan.tasks.map(({ name, wave }, index) => ({
    name,
    status: "succeeded" as const,
    retriesUsed: 0,
    attempts: 1,
    errors: [],
    startedAtMs: wave * 1_000,
    endedAtMs: wave * 1_000 + tookMs(index),
  }));
  const none = { expired: 0, released: 0, revoked: 0, fenced: 0, active: 0 };
  return {
    status: "succeeded",
    succeeded: tasks.length,
    failed: 0,
    skipped: 0,
    cancelled: 0,
    timedOut: 0,
    tasks,
    renewals: 0,
    leases: { granted: 0, ...none },
    bytes: {
      leased: 0,
      returned: 0,
      kept: 0,
      fenced: 0,
      active: 0,
      peakLeased: 0,
      spilled: 0,
      unspilled: 0,
    },
    elapsedMs: 1,
    teardownMs: 0,
    keep() {
      throw new Error("nothing is kept");
    },
  };
}

function lease(type: string, leaseId: string, atMs: number): ExecutionEvent {
  const event = { type, leaseId, kind: "mem", bytes: 64, atMs, expiresAtMs: atMs + 100 };
  return { type: "lease", task: "t", output: "o", atMs, event } as ExecutionEvent;
}

function spill(output: string, direction: "out" | "back", atMs: number): ExecutionEvent {
  return { type: "spill", task: "t", output, direction, bytes: 64, atMs };
}

/** Reads, counts and loads, in turn. */
function threeTasks(isBroken: boolean): ExecutionPlan {
  return planOf(
    [
      { name: "read", outputs: [raw("rows")], run: () => ({ rows: new Uint8Array(9) }) },
      idle("count", { inputs: [raw("rows")] }),
      idle("load", { inputs: [raw("rows")], ...(isBroken ? { run: fails("no disk") } : {}) }),
    ],
    [
      ["read", "count"],
      ["count", "load"],
    ],
  );
}

function fails(message: string): TaskDef["run"] {
  return () => {
    throw new Error(message);
  };
}

describe("runReport()", () => {
  it("shows a run: outcomes, attempts, leases and how they ended, the root of each skip", async () => {
    const plan = planOf(
      [
        {
          name: "extract",
          outputs: [raw("rows")],
          retries: 1,
          run({ attempt }) {
            if (attempt === 1) throw new Error("the source is busy");
            return { rows: new Uint8Array(3_000) };
          },
        },
        idle("count", { inputs: [raw("rows")] }),
        idle("weather", { run: fails("no such host"), retries: 2 }),
        idle("join"),
        idle("load"),
      ],
      [
        ["extract", "count"],
        ["weather", "join"],
        ["join", "load"],
      ],
    );
    const { html, events, result } = await reported(plan);
    const { texts, elements } = checked(html);
    expect(texts).toContain("failed");
    expect(texts).toContain("2 of 5");
    expect(texts).toContain("the source is busy");
    expect(texts.filter((text) => text === "no such host").length).toBeGreaterThanOrEqual(3);
    expect(texts).toContain("Skipped because of it: join, load");
    expect(texts.filter((text) => text === "because of weather")).toHaveLength(2);
    expect(texts.some((text) => text.startsWith("expired · "))).toBe(true);
    expect(texts.some((text) => text.includes("every byte is back"))).toBe(true);
    const classes = elements.map(({ attributes }) => attributes.get("class"));
    expect(classes.filter((name) => name === "bar failed")).toHaveLength(4);
    expect(classes.filter((name) => name === "bar succeeded")).toHaveLength(2);
    expect(classes.filter((name) => name === "reclaimed")).toHaveLength(1);
    // From the events themselves it is the same page.
    expect(runReport(plan, events, result)).toBe(html);
  });

  it("shows hard names and messages as they are, and none of them as markup", async () => {
    const tasks = hard.map((name, index) =>
      idle(name, { outputs: [raw(`o${name}`)], ...(index % 2 === 0 ? { run: fails(name) } : {}) }),
    );
    const last = idle("last", { inputs: hard.map((name) => raw(`o${name}`)) });
    const { html, events, result } = await reported(
      planOf(
        [...tasks, last],
        hard.map((name) => [name, "last"] as const),
      ),
    );
    const { texts } = checked(html);
    for (const name of hard) expect(texts.join("\n")).toContain(shortened(name, 120));
    const page = checked(runReport(planOf([...tasks]), events, result, { title: hard.join(" ") }));
    expect(page.texts.join("\n")).toContain("</script><script>alert(1)</script>");
  });

  it("is well-formed for any names, titles and errors", () => {
    const names = fc.uniqueArray(fc.string({ unit: "binary", minLength: 1 }), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(names, fc.anything(), fc.string({ unit: "binary" }), (some, error, title) => {
        const plan = planOf(some.map((name) => idle(name)));
        const result = resultOf(plan, (index) => index);
        const tasks = result.tasks.map((task) => ({
          ...task,
          status: "failed" as const,
          error,
          errors: [{ attempt: 1, error, failedAtMs: 0 }],
        }));
        checked(
          runReport(plan, [], { ...result, tasks }, { title }).replaceAll(
            /NaN|undefined|Infinity/g,
            "",
          ),
        );
      }),
      { numRuns: 50 },
    );
  });

  it("shows what went to blocks: on the leases that it left and came back into, and over time", async () => {
    const rig = new Rig({ memoryBytes: 4_096, blocks: 16_384 });
    const names = ["a", "b", "c", "d", "e", "f"];
    const makers = names.map((name): TaskDef => ({
      name,
      outputs: [raw(`of ${name}`)],
      run: async () => {
        await rig.host.later(names.indexOf(name) * 40);
        return { [`of ${name}`]: new Uint8Array(1_000) };
      },
    }));
    // Read in the other order: the first ones made are needed last, and have to go.
    const readers = names.toReversed().map((name) =>
      idle(`read ${name}`, {
        inputs: [raw(`of ${name}`)],
        run: () => rig.host.later(40),
      }),
    );
    const edges = readers.flatMap(({ name }, at) =>
      (at === 0 ? names : [readers[at - 1]?.name ?? "", name.slice(5)]).map(
        (before) => [before, name] as const,
      ),
    );
    const plan = planOf([...makers, ...readers], edges);
    const { html, events, result } = await reported(plan, { spill: true, teardown: "eager" }, rig);
    expect([result.status, result.bytes.spilled, result.bytes.unspilled]).toEqual([
      "succeeded",
      2_000,
      2_000,
    ]);
    const { texts, elements } = checked(html);
    expect(texts).toContain("of outputs moved to blocks, 2 KiB read back");
    expect(texts).toContain("in memory");
    expect(texts).toContain("on blocks");
    expect(texts.filter((text) => text === "to blocks · 1 KiB")).toHaveLength(2);
    const titles = texts.filter((text) => text.startsWith("a/of a"));
    expect(titles.filter((text) => text.endsWith("moved to blocks"))).toHaveLength(1);
    expect(titles.filter((text) => text.endsWith("back from blocks"))).toHaveLength(1);
    expect(titles.filter((text) => text.includes(", on blocks for "))).toHaveLength(1);
    const classes = elements.map(({ attributes }) => attributes.get("class"));
    expect(classes.filter((name) => name === "moved")).toHaveLength(4);
    expect(classes.filter((name) => name === "away")).toHaveLength(2);
    // The blocks are held to the end: they are not a lease that nobody needs.
    expect(classes.filter((name) => name === "bar lapsing")).toEqual([]);
    // The area, and its colour beside it.
    expect(classes.filter((name) => name === "spilled")).toHaveLength(2);
    expect(runReport(plan, events, result)).toBe(html);
    // A run that spills nothing says nothing of it.
    const plain = await reported(planOf([idle("a")]));
    const { texts: others } = checked(plain.html);
    expect(others.filter((text) => /on blocks|to blocks/.test(text))).toEqual([]);
  });

  it("shows what an earlier run had done: a mark and no bar, and how many there were", async () => {
    const rig = new Rig({ blocks: 16_384 });
    const options: ExecutorOptions = { runId: "nightly", teardown: "eager" };
    await reported(threeTasks(true), options, rig);
    const plan = threeTasks(false);
    const { html, events, result } = await reported(plan, options, rig);
    expect(result.status).toBe("succeeded");
    const { texts, elements } = checked(html);
    expect(texts).toContain("tasks succeeded, 2 taken over from an earlier run");
    // In the timeline and in the table.
    expect(texts.filter((text) => text === "taken over from an earlier run")).toHaveLength(4);
    const classes = elements.map(({ attributes }) => attributes.get("class"));
    expect(classes.filter((name) => name === "restored")).toHaveLength(2);
    expect(classes.filter((name) => name === "bar succeeded")).toHaveLength(1);
    expect(runReport(plan, events, result)).toBe(html);
  });

  it("is empty, but a page, for a run of nothing", async () => {
    const { texts } = checked((await reported(planOf([]))).html);
    expect(texts).toContain("0 tasks");
  });

  it.each([
    ["wide", []],
    ["deep", "chain"],
    ["layered", "layers"],
  ])("stays small for 10,000 tasks, a %s graph, and says what it left out", (_, form) => {
    const names = Array.from({ length: 10_000 }, (__, index) => `task number ${index}`);
    const from = form === "chain" ? 1 : 100;
    const edges = names.slice(from).map((name, index) => [names[index] as string, name] as const);
    const plan = planOf(
      names.map((name) => idle(name)),
      form === "chain" || form === "layers" ? edges : [],
    );
    const result = resultOf(plan, (index) => 900 - (index % 777));
    const html = runReport(plan, [], result);
    expect(html.length).toBeLessThan(400_000);
    const { texts } = checked(html);
    expect(texts.some((text) => text.startsWith("9,904 tasks not drawn"))).toBe(true);
    expect(texts.some((text) => text.startsWith("9,600 tasks not shown"))).toBe(true);
  });
});

describe("RunRecorder", () => {
  it("keeps a bounded part of many leases, and all of their bytes", () => {
    const recorder = new RunRecorder();
    for (let index = 0; index < 20_000; index++)
      recorder.onEvent(lease("granted", `${index}`, index));
    for (let index = 0; index < 20_000; index++) {
      recorder.onEvent(lease("expired", `${index}`, 20_000 + index));
      recorder.onEvent(lease("reclaimed", `${index}`, 20_000 + index));
    }
    expect(recorder.leases.length + recorder.leasesLeftOut).toBe(20_000);
    expect(recorder.leases.length).toBeLessThanOrEqual(2_048);
    const { points } = recorder.bytes;
    expect(points.length).toBeLessThanOrEqual(1_024);
    expect(Math.max(...points.map(({ peakLeased }) => peakLeased))).toBe(64 * 20_000);
    expect(points.at(-1)).toMatchObject({ leased: 0, returning: 0 });
  });

  it("keeps the first and the last of many attempts and renewals", () => {
    const recorder = new RunRecorder();
    recorder.onEvent(lease("granted", "a", 0));
    for (let attempt = 1; attempt <= 1_000; attempt++) {
      const about = { type: "task", name: "t", attempt } as const;
      recorder.onEvent({ ...about, oldState: "pending", newState: "running", atMs: attempt });
      const error = new Error("no");
      recorder.onEvent({
        ...about,
        oldState: "running",
        newState: "waiting",
        error,
        atMs: attempt,
      });
      recorder.onEvent(lease("renewed", "a", attempt));
    }
    const attempts = recorder.attempts("t");
    expect(attempts).toHaveLength(64);
    expect([attempts[0]?.attempt, attempts.at(-1)?.attempt]).toEqual([1, 1_000]);
    expect(attempts.at(-1)?.outcome).toBe("failed");
    expect(recorder.leases[0]?.renewals).toBe(1_000);
    expect(recorder.leases[0]?.renewedMs.length).toBeLessThanOrEqual(64);
    expect(recorder.leases[0]?.renewedMs.at(-1)).toBe(1_000);
  });
});

describe("RunRecorder, of outputs on blocks", () => {
  it("counts an output once while it is on blocks only, and none when the run is settled", () => {
    const recorder = new RunRecorder();
    const spilled = (): number | undefined => recorder.bytes.points.at(-1)?.spilled;
    recorder.onEvent(spill("a", "out", 1));
    recorder.onEvent(spill("b", "out", 2));
    expect(spilled()).toBe(128);
    recorder.onEvent(spill("a", "back", 3));
    expect(spilled()).toBe(64);
    // It stood there still, and is read again.
    recorder.onEvent(spill("a", "back", 4));
    expect(spilled()).toBe(64);
    recorder.onEvent({ type: "settled", status: "cancelled", atMs: 5 });
    expect(spilled()).toBe(0);
    expect(recorder.bytes.points.map(({ peakSpilled }) => peakSpilled)).toEqual([64, 128, 64, 0]);
  });
});

describe("ByteSeries", () => {
  const changes = fc.array(fc.tuple(fc.nat({ max: 500 }), fc.nat({ max: 1_000 })), {
    maxLength: 300,
  });

  it("tells of every peak, and the last state, in bounded room", () => {
    fc.assert(
      fc.property(changes, (some) => {
        const series = new ByteSeries(16);
        let [atMs, leased, peak] = [0, 0, 0];
        for (const [laterMs, bytes] of some) {
          atMs += laterMs;
          const change = bytes % 2 === 0 ? bytes : -Math.min(leased, bytes);
          leased += change;
          peak = Math.max(peak, leased);
          series.change(atMs, { leased: change });
        }
        const { points } = series;
        expect(points.length).toBeLessThanOrEqual(16);
        expect(Math.max(0, ...points.map(({ peakLeased }) => peakLeased))).toBe(peak);
        expect(points.at(-1)?.leased ?? 0).toBe(leased);
        const times = points.map((point) => point.atMs);
        expect(times).toEqual(times.toSorted((a, b) => a - b));
      }),
    );
  });
});

describe("the report's words", () => {
  it("are the platform's dates", () => {
    const year = 400 * 365 * 86_400_000;
    fc.assert(
      fc.property(fc.integer({ min: -year, max: 20 * year }), (ms) => {
        const wanted = new Date(ms).toISOString().replace(/^\+0*/, "");
        if (wanted.startsWith("-")) return;
        expect(formatUtc(ms)).toBe(`${wanted.replace("T", " ").replace(/\.\d+Z$/, "")} UTC`);
      }),
    );
    expect(formatUtc(951_782_400_000)).toBe("2000-02-29 00:00:00 UTC");
  });

  it("are short figures", () => {
    expect([0, 1.25, 12, 999, 1_000, 61_000].map(formatMs)).toEqual([
      "0 ms",
      "1.3 ms",
      "12 ms",
      "999 ms",
      "1.00 s",
      "1 min 1 s",
    ]);
    expect([0, 1_023, 1_024, 1_536, 12 << 20].map(formatBytes)).toEqual([
      "0 bytes",
      "1023 bytes",
      "1 KiB",
      "1.5 KiB",
      "12 MiB",
    ]);
    expect(shortened("x".repeat(1e6), 5)).toBe("xxxx…");
    expect(escaped(`<a b='"'>&\``)).toBe("&#60;a b=&#39;&#34;&#39;&#62;&#38;&#96;");
  });
});
