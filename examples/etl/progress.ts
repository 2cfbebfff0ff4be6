/** Live progress by wave and task: a list on a terminal, plain lines elsewhere. */
import { Listr, type ListrTaskWrapper } from "listr2";
import { isFabricError, type ExecutionEvent, type ExecutionPlan, type TaskEvent } from "selvage";
import { formatSeconds } from "./format.ts";

/** Hears a run's events, and is told its end. */
export interface Progress {
  onEvent(event: ExecutionEvent): void;
  /** Resolves once everything is drawn. */
  end(): Promise<void>;
}

/** A line a transition, for logs. */
export function plainProgress(write: (line: string) => void): Progress {
  const startMs = Date.now();
  return {
    onEvent(event) {
      const line = describeEvent(event);
      if (line !== undefined) write(`[${formatSeconds(event.atMs - startMs).padStart(7)}] ${line}`);
    },
    async end() {},
  };
}

/** A list that is redrawn in place, with what each task is at. */
export function liveProgress(plan: ExecutionPlan): Progress {
  const views = new Map(plan.tasks.map(({ name }) => [name, new TaskView(name)]));
  const waves = plan.waves().map((names, index) => ({
    title: `wave ${index + 1}`,
    task: (_: unknown, wave: Wrapper) =>
      wave.newListr(
        names.map((name) => ({
          title: name,
          task: (__: unknown, row: Wrapper) => views.get(name)?.show(row),
        })),
        { concurrent: true, exitOnError: false },
      ),
  }));
  const list = new Listr(waves, {
    exitOnError: false,
    collectErrors: false,
    registerSignalListeners: false,
  });
  const drawn = list.run();
  return {
    onEvent(event) {
      if (event.type === "task" || event.type === "progress") views.get(event.name)?.take(event);
    },
    async end() {
      for (const view of views.values()) view.close();
      await drawn;
    },
  };
}

type Wrapper = Omit<ListrTaskWrapper<never, never, never>, "skip" | "report">;

/** A task's row. It may hear of its task before it is drawn, and be drawn before it hears. */
class TaskView {
  readonly #name: string;
  readonly #end = Promise.withResolvers<void>();
  #row: Wrapper | undefined;
  #note = "";

  constructor(name: string) {
    this.#name = name;
    // Drawn or not, a failure is shown by the list, not thrown.
    this.#end.promise.catch(() => {});
  }

  show(row: Wrapper): Promise<void> {
    this.#row = row;
    this.#draw();
    return this.#end.promise;
  }

  take(event: Extract<ExecutionEvent, { type: "task" | "progress" }>): void {
    if (event.type === "progress") {
      if (event.fraction !== undefined) this.#note = `${Math.round(event.fraction * 100)} %`;
      return this.#draw();
    }
    const { newState, attempt } = event;
    if (newState === "running") this.#note = attempt > 1 ? `attempt ${attempt}` : "";
    else if (newState === "waiting") this.#note = `attempt ${attempt} failed: ${reason(event)}`;
    else if (newState === "succeeded") this.#end.resolve();
    else if (newState !== "pending") this.#end.reject(new Error(`${this.#name} ${reason(event)}`));
    this.#draw();
  }

  close(): void {
    this.#end.resolve();
  }

  #draw(): void {
    if (this.#row !== undefined) this.#row.title = `${this.#name} ${this.#note}`.trimEnd();
  }
}

function describeEvent(event: ExecutionEvent): string | undefined {
  switch (event.type) {
    case "wave":
      return event.state === "started"
        ? `wave ${event.index + 1}: ${event.tasks.join(", ")}`
        : undefined;
    case "task":
      return event.newState === "running"
        ? `${event.name} started${event.attempt > 1 ? ` (attempt ${event.attempt})` : ""}`
        : `${event.name} ${reason(event)}`;
    case "log":
      return `${event.name}: ${event.message}`;
    case "settled":
      return `settled: ${event.status}`;
    case "lease":
    case "progress":
    case "spill":
      return undefined;
  }
}

/** How a task ended, with its cause. */
function reason({ newState, error, because }: TaskEvent): string {
  if (because !== undefined) return `${newState} because of ${because}`;
  if (error === undefined) return newState;
  const name = isFabricError(error) ? `${error.code}: ` : "";
  const what = newState === "waiting" ? "will try again" : newState;
  return `${what} (${name}${error instanceof Error ? error.message : JSON.stringify(error)})`;
}
