/** Lines on a terminal, drawn again and again in one place. */
import { styleText } from "node:util";
import type { createLogUpdate } from "log-update";

/** Where something is drawn: a stream, which may be a terminal, as `process.stdout` and `process.stderr` may. */
export type ViewStream = NodeJS.WritableStream & {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
};

/** Options of {@link redraw}. */
export interface RedrawOptions {
  readonly stream: ViewStream;
  /** How long there is at least between two drawings, in milliseconds. Default 100. */
  readonly everyMs?: number;
  /** What is to be seen now, in at most so many columns and rows. Signs such as `✓`, `✕` and `█` get their colours. */
  readonly lines: (size: { readonly columns: number; readonly rows: number }) => readonly string[];
}

/** What {@link redraw} gives. */
export interface Redraw extends Disposable {
  /** Draws the last state, and leaves the terminal as it was. Idempotent. */
  end(): void;
}

type LogUpdate = ReturnType<typeof createLogUpdate>;

const rowsMax = 24;

/**
 * Draws what `lines` gives, again and again in one place, by a timer that keeps no process alive. What the stream's width
 * cuts off is the caller's affair.
 *
 * @example
 * ```ts
 * import { redraw } from "@selvage/node";
 *
 * let done = 0;
 * using view = redraw({ stream: process.stdout, lines: () => [`${done} done`] });
 * done++;
 * ```
 */
export function redraw(options: RedrawOptions): Redraw {
  const { stream, everyMs = 100, lines } = options;
  let draw: LogUpdate | undefined;
  let isOver = false;
  const text = (): string => {
    const { columns = 80, rows = 24 } = stream;
    const shown = lines({ columns, rows: Math.min(rows - 1, rowsMax) });
    return shown.map((line) => painted(line, stream)).join("\n");
  };
  const timer = setInterval(() => draw?.(text()), everyMs);
  timer.unref();
  // Only who watches pays for it: worker threads, too, load this package.
  import("log-update").then(
    (library) => {
      if (!isOver) draw = library.createLogUpdate(stream);
    },
    () => {},
  );
  const end = (): void => {
    if (isOver) return;
    isOver = true;
    clearInterval(timer);
    if (draw === undefined) stream.write(`${text()}\n`);
    else {
      draw(text());
      draw.done();
    }
  };
  return { end, [Symbol.dispose]: end };
}

// `NO_COLOR`, and streams that show no colours, are the platform's to know.
function painted(line: string, stream: ViewStream): string {
  return line.replaceAll(/[✓✕⏱▸↻]|█+/gu, (sign) =>
    styleText(colours[sign] ?? "cyan", sign, { stream }),
  );
}

const colours: Readonly<Record<string, "green" | "red" | "cyan" | "yellow">> = {
  "✓": "green",
  "✕": "red",
  "⏱": "red",
  "▸": "cyan",
  "↻": "yellow",
};
