/** A line chart as an SVG, with nothing but text. */

/** One line of a chart. */
export interface Line {
  readonly name: string;
  readonly color: string;
  readonly values: readonly number[];
}

const WIDTH = 720;
const HEIGHT = 360;
const MARGIN = 60;

/** Draws `lines` over the same count of steps, from 0 up. */
export function lineChart(
  title: string,
  unit: string,
  steps: string,
  lines: readonly Line[],
): string {
  const top = Math.max(...lines.flatMap(({ values }) => values)) * 1.05;
  const x = (index: number, count: number): string =>
    (MARGIN + (index / Math.max(1, count - 1)) * (WIDTH - 2 * MARGIN)).toFixed(1);
  const y = (value: number): string =>
    (HEIGHT - MARGIN - (value / top) * (HEIGHT - 2 * MARGIN)).toFixed(1);
  const grid = [0, 0.25, 0.5, 0.75, 1].map((part) => {
    const at = y(top * part);
    return (
      `<line x1="${MARGIN}" x2="${WIDTH - MARGIN}" y1="${at}" y2="${at}" stroke="#ddd"/>` +
      `<text x="${MARGIN - 8}" y="${at}" text-anchor="end">${Math.round(top * part)}</text>`
    );
  });
  const drawn = lines.map(({ name, color, values }, index) => {
    const points = values.map((value, step) => `${x(step, values.length)},${y(value)}`).join(" ");
    return (
      `<polyline points="${points}" fill="none" stroke="${color}" stroke-width="2"/>` +
      `<text x="${MARGIN + 12}" y="${MARGIN + 18 * index}" fill="${color}">${name}</text>`
    );
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    `<text x="${WIDTH / 2}" y="24" text-anchor="middle" font-size="15">${title}</text>`,
    `<text x="${WIDTH / 2}" y="${HEIGHT - 16}" text-anchor="middle">${steps}</text>`,
    `<text x="16" y="${MARGIN - 20}">${unit}</text>`,
    ...grid,
    ...drawn,
    "</svg>",
    "",
  ].join("\n");
}

/** Draws `lines` over named steps; the vertical axis is logarithmic, a grid line for each power of ten. */
export function logChart(
  title: string,
  unit: string,
  steps: readonly string[],
  lines: readonly Line[],
): string {
  const all = lines.flatMap(({ values }) => values).filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(...all)));
  const high = Math.ceil(Math.log10(Math.max(...all)));
  const legend = 190;
  const right = WIDTH - legend;
  const x = (step: number): string =>
    (MARGIN + (step / Math.max(1, steps.length - 1)) * (right - MARGIN - 10)).toFixed(1);
  const y = (value: number): string =>
    (
      HEIGHT -
      MARGIN -
      ((Math.log10(value) - low) / Math.max(1, high - low)) * (HEIGHT - 2 * MARGIN)
    ).toFixed(1);
  const grid = Array.from({ length: high - low + 1 }, (_, index) => {
    const value = 10 ** (low + index);
    return (
      `<line x1="${MARGIN}" x2="${right}" y1="${y(value)}" y2="${y(value)}" stroke="#ddd"/>` +
      `<text x="${MARGIN - 8}" y="${y(value)}" text-anchor="end">${value.toLocaleString("en", { notation: "compact" })}</text>`
    );
  });
  const marks = steps.map(
    (step, index) =>
      `<text x="${x(index)}" y="${HEIGHT - MARGIN + 18}" text-anchor="middle">${step}</text>`,
  );
  const drawn = lines.map(({ name, color, values }, index) => {
    const points = values.map((value, step) => `${x(step)},${y(value)}`).join(" ");
    const isOurs = index === 0;
    return (
      `<polyline points="${points}" fill="none" stroke="${color}" stroke-width="${isOurs ? 3.5 : 1.5}"/>` +
      `<text x="${right + 14}" y="${MARGIN + 18 * index}" fill="${color}"${isOurs ? ' font-weight="bold"' : ""}>${name}</text>`
    );
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    `<text x="${WIDTH / 2}" y="24" text-anchor="middle" font-size="15">${title}</text>`,
    `<text x="16" y="${MARGIN - 20}">${unit}</text>`,
    ...grid,
    ...marks,
    ...drawn,
    "</svg>",
    "",
  ].join("\n");
}
