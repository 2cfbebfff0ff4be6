/** Tables, and figures in them. */

/** A column: its head, and whether its cells are figures, which stand to the right. */
export type Column = string | { readonly figure: string };

// C0 and C1 controls, invisible marks, what turns the direction of writing, halves of surrogate pairs: names and messages
// are other people's, and a terminal obeys some of these.
const unreadable =
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  /[\u0000-\u001F\u007F-\u009F\u2028\u2029\u200E\u200F\u202A-\u202E\u2066-\u2069\uFEFF]|\p{Surrogate}/gu;

/** A text as a terminal may have it: one line, and nothing that it would obey. */
export function visible(text: string): string {
  return text.replaceAll(unreadable, (character) => (character === "\n" ? "↵" : "\uFFFD"));
}

/** Rows under their heads, one a line. Nothing to show is told as `none`. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  none: string,
): string {
  if (rows.length === 0) return none;
  const heads = columns.map((column) => (typeof column === "string" ? column : column.figure));
  const shown = rows.map((row) => row.map(visible));
  const widths = heads.map((head, at) =>
    Math.max(head.length, ...shown.map((row) => (row[at] ?? "").length)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, at) => {
        const width = widths[at] ?? 0;
        return typeof columns[at] === "string" ? cell.padEnd(width) : cell.padStart(width);
      })
      .join("  ")
      .trimEnd();
  return [line(heads), ...shown.map(line)].join("\n");
}

const units = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** A number of bytes, for people. */
export function formatBytes(bytes: number): string {
  let [amount, unit] = [bytes, 0];
  for (; amount >= 1_024 && unit < units.length - 1; unit++) amount /= 1_024;
  return `${Number(amount.toFixed(amount < 10 ? 1 : 0))} ${units[unit]}`;
}

/** A time in milliseconds, for people. */
export function formatMs(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor((ms % 60_000) / 1_000)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
