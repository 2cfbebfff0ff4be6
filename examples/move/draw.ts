/** What the sink got, drawn. */
import { BUCKET_MS, type MoveTotals } from "./move.ts";

const bars = "▁▂▃▄▅▆▇█";

/** One character a bucket. */
export function sparkline(values: readonly number[]): string {
  const top = Math.max(1, ...values);
  return values
    .map((value) => (value === 0 ? " " : bars[Math.ceil((value / top) * bars.length) - 1]))
    .join("");
}

/** The same as an SVG: items by time, with the moment of the move. */
export function drawDip({ perBucket, movedAtMs, stallMs }: MoveTotals): string {
  const [width, height, margin] = [720, 240, 40];
  const top = Math.max(1, ...perBucket);
  const step = (width - 2 * margin) / Math.max(1, perBucket.length);
  const drawn = perBucket.map((value, at) => {
    const high = (value / top) * (height - 2 * margin);
    const x = margin + at * step;
    return `<rect x="${x.toFixed(1)}" y="${(height - margin - high).toFixed(1)}" width="${(step * 0.9).toFixed(1)}" height="${high.toFixed(1)}" fill="#4878a8"/>`;
  });
  const moved = margin + (movedAtMs / BUCKET_MS) * step;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="white"/>`,
    ...drawn,
    `<line x1="${moved.toFixed(1)}" x2="${moved.toFixed(1)}" y1="${margin}" y2="${height - margin}" stroke="#c03020" stroke-width="2"/>`,
    `<text x="${(moved + 6).toFixed(1)}" y="${margin + 12}" fill="#c03020">the stage moves: ${stallMs.toFixed(1)} ms without an item</text>`,
    `<text x="${margin}" y="${height - 12}">items that the sink got, by ${BUCKET_MS} ms; ${perBucket.length * BUCKET_MS} ms in all; at most ${top}</text>`,
    `</svg>`,
    "",
  ].join("\n");
}
