/** A random number for waits, not for secrets. */
import type { Random } from "@selvage/fabric";

/** From 0 up to, and never, 1. */
export function randomFraction(random: Random): number {
  const words = new Int32Array(1);
  random.fill(words);
  return ((words[0] as number) >>> 0) / 0x1_0000_0000;
}
