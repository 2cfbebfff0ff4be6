/**
 * Short copies between two byte arrays. On shared memory the built-in ones cost 40 ns (`set`) to 110 ns (`set` of a
 * `subarray`) before the first byte; a loop costs 0.7 to 1.1 ns a byte.
 *
 * Evidence: 16 to 512 bytes into and out of a shared WebAssembly memory, Node 24.21 on a 2-core EPYC VM, 2026-11. Loop
 * by eights / `set` at 64 bytes written: 45 / 43 ns; loop / `set` of `subarray` read: 71 / 114 at 64 bytes, 103 / 120
 * at 96, 143 / 124 at 128. Going by 32-bit words gained nothing: the bytes of the other side are the cost.
 */

/** Up to here a loop writes faster than `set`. */
const writeLoopMax = 48;
/** Up to here a loop reads faster than making a `subarray` and `set`. */
const readLoopMax = 96;

// Not the target's own `set`, which would be handed the arena.
// oxlint-disable-next-line typescript/unbound-method -- called by `setBytes.call(target, ...)` only
const setBytes: Uint8Array["set"] = Uint8Array.prototype.set;

/** Copies all of `target.length` bytes from `at` of an arena. Allocates nothing up to 96 bytes. */
export function copyOut(arena: Uint8Array, at: number, target: Uint8Array): void {
  const { length } = target;
  if (length <= readLoopMax) copyByEights(arena, at, target, 0, length);
  else setBytes.call(target, arena.subarray(at, at + length));
}

/** Copies all of `source` to `at` of an arena. Allocates nothing. */
export function copyIn(arena: Uint8Array, at: number, source: Uint8Array): void {
  const { length } = source;
  if (length <= writeLoopMax) copyByEights(source, 0, arena, at, length);
  else arena.set(source, at);
}

function copyByEights(
  source: Uint8Array,
  from: number,
  target: Uint8Array,
  to: number,
  length: number,
): void {
  const end = from + length;
  const endOfEights = from + (length & ~7);
  let read = from;
  let write = to;
  for (; read < endOfEights; read += 8, write += 8) {
    target[write] = source[read] as number;
    target[write + 1] = source[read + 1] as number;
    target[write + 2] = source[read + 2] as number;
    target[write + 3] = source[read + 3] as number;
    target[write + 4] = source[read + 4] as number;
    target[write + 5] = source[read + 5] as number;
    target[write + 6] = source[read + 6] as number;
    target[write + 7] = source[read + 7] as number;
  }
  for (; read < end; read++, write++) target[write] = source[read] as number;
}
