import fc from "fast-check";
import { isFabricError, type ExecutionEvent, type LeaseEvent } from "selvage";
import { describe, expect, it } from "vitest";
import { aggregateFlights } from "../../examples/etl/aggregate.ts";
import { AIRPORT_CODES, codeOf, codeOfBytes, iataOf } from "../../examples/etl/airport-code.ts";
import { formatBytes, formatSeconds, formatTable } from "../../examples/etl/format.ts";
import { parseFailure, TASKS } from "../../examples/etl/job.ts";
import { drawSvg } from "../../examples/etl/timeline-svg.ts";
import { drawText } from "../../examples/etl/timeline-text.ts";
import { Timeline } from "../../examples/etl/timeline.ts";
import { textsOf } from "./xml.ts";

describe("an airport code", () => {
  it("is its letters again, for every number", () => {
    const codes = Array.from({ length: AIRPORT_CODES }, (_, code) => code);
    expect(codes.filter((code) => codeOf(iataOf(code)) !== code)).toEqual([]);
  });

  it("has a number of its own, the same as text and as bytes, for three letters", () => {
    const letters = fc.stringMatching(/^[A-Z]{3}$/);
    fc.assert(
      fc.property(letters, (iata) => {
        const code = codeOf(iata);
        expect(iataOf(code)).toBe(iata);
        expect(codeOfBytes(new TextEncoder().encode(iata))).toBe(code);
      }),
    );
  });

  it("is -1 for anything else", () => {
    const other = fc.oneof(
      fc.string(),
      fc.string({ minLength: 3, maxLength: 3 }),
      fc.string({ minLength: 3, maxLength: 3, unit: "binary" }),
    );
    fc.assert(
      fc.property(other, (text) => {
        fc.pre(!/^[A-Z]{3}$/.test(text));
        expect(codeOf(text)).toBe(-1);
        expect(codeOfBytes(new TextEncoder().encode(text))).toBe(-1);
      }),
    );
  });

  it.each(["", "AB", "ABCD", "abc", "A@C", "A[C", "\u0141BC", "AB\u{10041}"])(
    "is -1 for %j",
    (text) => {
      expect(codeOf(text)).toBe(-1);
    },
  );
});

describe("formatTable()", () => {
  it("aligns numbers to the right and texts to the left, and ends no line with blanks", () => {
    const table = formatTable(
      ["iata", "flights", "city"],
      [
        ["LAX", 7, "Los Angeles"],
        ["X", 12_345_678, "Y"],
      ],
    );
    expect(table.split("\n")).toEqual([
      "  iata   flights  city",
      "  LAX          7  Los Angeles",
      "  X     12345678  Y",
    ]);
  });

  it("is the header alone without rows", () => {
    expect(formatTable(["a", "b"], [])).toBe("  a  b");
  });
});

describe("formatBytes() and formatSeconds()", () => {
  it.each([
    [formatBytes(0), "0.0 KiB"],
    [formatBytes(1_048_575), "1024.0 KiB"],
    [formatBytes(1_048_576), "1.0 MiB"],
    [formatSeconds(0), "0.00 s"],
    [formatSeconds(12_345), "12.35 s"],
  ])("%s", (found, wanted) => {
    expect(found).toBe(wanted);
  });
});

describe("parseFailure()", () => {
  it.each(TASKS)("takes %s, for every attempt and for a number of them", (task) => {
    expect(parseFailure(task)).toEqual({ task, times: Infinity });
    expect(parseFailure(`${task}:1`)).toEqual({ task, times: 1 });
    expect(parseFailure(`${task}:12`)).toEqual({ task, times: 12 });
  });

  it.each([
    "",
    ":",
    "nothing",
    "Load",
    " load",
    "load:",
    "load:0",
    "load:-1",
    "load:1.5",
    "load:x",
    "load: 2",
    "load:1:2",
    "load:Infinity",
  ])("refuses %j with INVALID_ARGUMENT, which names the tasks", (text) => {
    let thrown: unknown;
    try {
      parseFailure(text);
    } catch (error) {
      thrown = error;
    }
    expect(isFabricError(thrown) && thrown.code).toBe("INVALID_ARGUMENT");
    expect((thrown as Error).message).toContain(`extract, aggregate, enrich, load, got "${text}"`);
  });
});

describe("aggregateFlights()", () => {
  it("counts a flight as late beyond 15 minutes, not at 15", () => {
    const codes = Uint16Array.of(0, 0, 0, 0);
    const flights = {
      date: new Int32Array(4),
      delay: Int16Array.of(14, 15, 16, -16),
      distance: Int16Array.of(9, 9, 9, 9),
      origin: codes,
      destination: Uint16Array.of(1, 1, 1, 1),
    };
    const told: number[] = [];
    const { origins, routes } = aggregateFlights(flights, (done) => void told.push(done));
    expect([[...origins.late], [...origins.departures], [...origins.delaySum]]).toEqual([
      [1],
      [4],
      [29],
    ]);
    expect([[...routes.flights], [...routes.distance]]).toEqual([[4], [9]]);
    expect(told).toEqual([1]);
  });
});

const startMs = 1_000_000;

const taskEvent = (
  name: string,
  newState: "running" | "waiting" | "succeeded",
  atMs: number,
  attempt = 1,
): ExecutionEvent => ({
  type: "task",
  name,
  oldState: "pending",
  newState,
  attempt,
  atMs: startMs + atMs,
});

const leaseEvent = (
  type: LeaseEvent["event"]["type"],
  atMs: number,
  leaseId = "a",
): ExecutionEvent => ({
  type: "lease",
  task: "extract",
  output: "flights<&>",
  event: {
    type,
    kind: "mem",
    leaseId,
    generation: 1,
    tenant: "default",
    label: "",
    bytes: 2_048,
    atMs: startMs + atMs,
    expiresAtMs: startMs + 500,
  },
  atMs: startMs + atMs,
});

const wave = (state: "started" | "ended", atMs: number): ExecutionEvent => ({
  type: "wave",
  index: 0,
  state,
  tasks: ["extract"],
  atMs: startMs + atMs,
});

function timelineOf(...events: readonly ExecutionEvent[]): Timeline {
  const timeline = new Timeline(startMs);
  for (const event of events) timeline.add(event);
  return timeline;
}

const whole = [
  wave("started", 0),
  taskEvent("extract", "running", 10),
  leaseEvent("granted", 20),
  taskEvent("extract", "waiting", 40),
  taskEvent("extract", "running", 60, 2),
  leaseEvent("granted", 70, "b"),
  leaseEvent("renewed", 80, "b"),
  taskEvent("extract", "succeeded", 90, 2),
  wave("ended", 90),
  { type: "settled", status: "succeeded", atMs: startMs + 100 } as const,
  leaseEvent("expired", 500),
  leaseEvent("reclaimed", 501),
  leaseEvent("expired", 600, "b"),
];

describe("Timeline", () => {
  it("has the spans of a run from its events", () => {
    const { waves, tasks, leases, settledMs, endMs } = timelineOf(...whole);
    expect([settledMs, endMs]).toEqual([100, 600]);
    expect(waves).toEqual([{ name: "wave 1", fromMs: 0, toMs: 90 }]);
    expect(tasks).toEqual([
      { name: "extract", attempt: 1, fromMs: 10, toMs: 40, outcome: "failed" },
      { name: "extract", attempt: 2, fromMs: 60, toMs: 90, outcome: "succeeded" },
    ]);
    const about = { name: "extract/flights<&>", bytes: 2_048, endedAs: "expired" };
    expect(leases).toEqual([
      { ...about, leaseId: "a", fromMs: 20, toMs: 500, renewedMs: [], reclaimedMs: 501 },
      { ...about, leaseId: "b", fromMs: 70, toMs: 600, renewedMs: [80], reclaimedMs: undefined },
    ]);
  });

  it("leaves open what has not ended", () => {
    const { waves, tasks, leases, settledMs } = timelineOf(...whole.slice(0, 3));
    const ends = [waves[0], tasks[0], leases[0]].map((span) => span?.toMs);
    expect([...ends, settledMs]).toEqual([undefined, undefined, undefined, undefined]);
  });

  it("is drawn as well-formed XML, whatever names and title hold", () => {
    const texts = textsOf(drawSvg(timelineOf(...whole), "a < b & c"));
    expect(texts).toContain("a &lt; b &amp; c");
    expect(texts).toContain("extract (attempt 2)");
    expect(texts.filter((text) => text.startsWith("extract/flights&lt;&amp;"))).toHaveLength(2);
  });

  it.each([0, 1, 3, whole.length])("is drawn, as picture and as text, after %i events", (count) => {
    const timeline = timelineOf(...whole.slice(0, count));
    const { waves, tasks, leases } = timeline;
    expect(textsOf(drawSvg(timeline, "title"))).toContain("title");
    const lines = drawText(timeline).split("\n");
    expect(lines).toHaveLength(waves.length + tasks.length + leases.length + 1);
    for (const line of lines.slice(0, -1)) expect(line).toMatch(/^ {2}\S.* *\|.{60}\|/);
  });

  it("is drawn, as picture and as text, when a lease was granted after the run had settled", () => {
    const late = [...whole.slice(0, 1), ...whole.slice(9, 10), leaseEvent("granted", 300, "c")];
    const timeline = timelineOf(...late, leaseEvent("released", 400, "c"));
    expect(textsOf(drawSvg(timeline, "title"))).toContain("title");
    const [, , bar = ""] = drawText(timeline).split(/\|(?=.{60}\|)/);
    expect(bar.slice(0, 60)).toBe(`${" ".repeat(45)}-${"~".repeat(14)}`);
  });

  it("draws the time after the run has settled as time that nobody renews", () => {
    const line = drawText(timelineOf(...whole))
      .split("\n")
      .find((text) => text.includes("flights"));
    const [, bar = ""] = line?.split("|") ?? [];
    expect(bar).toBe(`  ${"-".repeat(9)}${"~".repeat(40)}`.padEnd(60));
  });
});
