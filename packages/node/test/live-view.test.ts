import { Writable } from "node:stream";
import { setTimeout } from "node:timers/promises";
import { TaskGraph, type ExecutionPlan, type TaskDef } from "@selvage/batch";
import { Executor, liveView, type LiveViewOptions } from "@selvage/node";
import { describe, expect, it } from "vitest";

const escape = "\u001B";

/** A terminal that only remembers. */
class Terminal extends Writable {
  readonly isTTY: boolean;
  readonly columns = 100;
  readonly rows = 24;
  readonly writes: string[] = [];

  constructor(isTTY: boolean) {
    super({ decodeStrings: false });
    this.isTTY = isTTY;
  }

  override _write(chunk: string, _: string, done: () => void): void {
    this.writes.push(chunk);
    done();
  }

  get text(): string {
    return this.writes.join("");
  }
}

function planOf(...tasks: TaskDef[]): ExecutionPlan {
  const graph = new TaskGraph();
  for (const task of tasks) graph.addTask(task);
  return graph.build();
}

function many(count: number): ExecutionPlan {
  return planOf(...Array.from({ length: count }, (_, index) => ({ name: `t${index}`, run() {} })));
}

/** Runs a plan under a view until both are over. */
async function seen(
  plan: ExecutionPlan,
  isTTY: boolean,
  options: LiveViewOptions = {},
): Promise<Terminal> {
  const terminal = new Terminal(isTTY);
  using view = liveView({ plan, stream: terminal, ...options });
  await Executor.run(plan, { ttlMs: 200, onEvent: view.onEvent });
  return terminal;
}

describe("liveView()", () => {
  it("tells a line an event where the stream is no terminal", async () => {
    const terminal = await seen(many(3), false);
    expect(terminal.text).not.toContain(escape);
    const lines = terminal.text.trimEnd().split("\n");
    expect(lines).toHaveLength(8);
    expect(lines[0]).toMatch(/^\[ *\d\.\d\d s\] wave 1: t0, t1, t2$/);
    expect(lines.at(-1)).toMatch(/settled: succeeded$/);
  });

  it("sums up where there are too many events to tell, and still names what failed", async () => {
    const failing: TaskDef = {
      name: "lost",
      async run() {
        await setTimeout(50);
        throw new Error("no such host");
      },
    };
    const tasks = Array.from({ length: 5_000 }, (_, index) => ({ name: `t${index}`, run() {} }));
    const terminal = await seen(planOf(...tasks, failing), false);
    expect(terminal.writes.length).toBeLessThan(300);
    expect(terminal.text).toContain("lost failed (no such host)");
    expect(terminal.text).toMatch(/settled: failed\n$/);
  });

  it("is redrawn in place on a terminal, and leaves the last state", async () => {
    const working: TaskDef = {
      name: "working",
      outputs: [{ name: "o", format: "raw" }],
      async run(ctx) {
        ctx.progress(0.5);
        await setTimeout(500);
        return { o: new Uint8Array(64) };
      },
    };
    const terminal = await seen(planOf(working), true, { everyMs: 5 });
    expect(terminal.text).toContain("working");
    expect(terminal.text).toContain(" 50 %");
    expect(terminal.text).toContain(`${escape}[2K`);
    expect(terminal.text).toContain("1 succeeded");
  });

  it("draws by time, not by event", async () => {
    const terminal = await seen(many(5_000), true, { everyMs: 1_000_000 });
    expect(terminal.writes.length).toBeLessThan(20);
    expect(terminal.text).toContain("5,000 succeeded");
  });

  it("ends with a run that is cancelled, and once only", async () => {
    const cancel = new AbortController();
    const plan = planOf({
      name: "waits",
      async run({ signal }) {
        cancel.abort();
        await setTimeout(60_000, undefined, { signal: signal as AbortSignal });
      },
    });
    const terminal = new Terminal(true);
    const view = liveView({ plan, stream: terminal });
    await Executor.run(plan, { onEvent: view.onEvent, signal: cancel.signal });
    const { text } = terminal;
    expect(text).toContain("1 cancelled");
    await setTimeout(300);
    expect(terminal.text).toBe(text);
    view.end();
    expect(terminal.text).toBe(text);
  });
});
