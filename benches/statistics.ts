/** Order statistics and a bootstrap, both by samples that were taken in rounds. */

/** Gives the same sequence of numbers in [0, 1) for the same seed (mulberry32): every run draws the same. */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

/** The `q` quantile, by interpolation between neighbours. */
export function quantile(samples: readonly number[], q: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  const below = sorted[low] as number;
  const above = sorted[Math.min(low + 1, sorted.length - 1)] as number;
  return below + (above - below) * (at - low);
}

/** The middle sample. */
export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

/** How often the rounds are drawn anew. */
const DRAWS = 1_000;

/**
 * The 95 % bounds of median(theirs) / median(ours). Rounds are drawn, not samples, since both sides of a round ran
 * side by side and share its weather.
 */
export function ratioBounds(
  ours: readonly number[],
  theirs: readonly number[],
  seed = 1,
): readonly [number, number] {
  const random = seededRandom(seed);
  const rounds = Math.min(ours.length, theirs.length);
  const ratios = Array.from({ length: DRAWS }, () => {
    const drawn = Array.from({ length: rounds }, () => Math.floor(random() * rounds));
    return (
      median(drawn.map((round) => theirs[round] as number)) /
      median(drawn.map((round) => ours[round] as number))
    );
  });
  return [quantile(ratios, 0.025), quantile(ratios, 0.975)];
}
