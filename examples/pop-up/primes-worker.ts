/** Counts the primes of a range: what the threads of the pool do with a chunk. */
import type { ChunkContext } from "selvage";

function isPrime(candidate: number): boolean {
  if (candidate < 2) return false;
  for (let divisor = 2; divisor * divisor <= candidate; divisor++)
    if (candidate % divisor === 0) return false;
  return true;
}

// oxlint-disable-next-line import/no-default-export -- what a job's module gives is its default export.
export default (bytes: Uint8Array, { allocate, progress }: ChunkContext): Uint8Array => {
  const range = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [from, to] = [range.getUint32(0, true), range.getUint32(4, true)];
  let count = 0;
  for (let candidate = from; candidate < to; candidate++) {
    if (isPrime(candidate)) count++;
    if (candidate % 1_000 === 0) progress((candidate - from) / (to - from));
  }
  const output = allocate(4);
  new DataView(output.buffer, output.byteOffset, 4).setUint32(0, count, true);
  return output;
};
