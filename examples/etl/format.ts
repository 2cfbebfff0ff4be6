/** Numbers and tables for people. */

/** A number of bytes, in MiB or KiB. */
export function formatBytes(bytes: number): string {
  return bytes >= 1 << 20
    ? `${(bytes / (1 << 20)).toFixed(1)} MiB`
    : `${(bytes / 1024).toFixed(1)} KiB`;
}

/** A number of milliseconds, in seconds. */
export function formatSeconds(ms: number): string {
  return `${(ms / 1_000).toFixed(2)} s`;
}

/** Rows as lines; a column whose first cell is a number is aligned to the right. */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const cells = [header, ...rows.map((row) => row.map(String))];
  const widths = header.map((_, column) =>
    Math.max(...cells.map((row) => (row[column] ?? "").length)),
  );
  const isNumber = header.map((_, column) => typeof rows[0]?.[column] === "number");
  const pad = (cell: string, column: number): string =>
    isNumber[column] === true
      ? cell.padStart(widths[column] ?? 0)
      : cell.padEnd(widths[column] ?? 0);
  return cells.map((row) => `  ${row.map(pad).join("  ").trimEnd()}`).join("\n");
}
