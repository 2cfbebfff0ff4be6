/** How long frames are to be: an item is held back for the rest of its frame, and made again with it after a death. */

/** A frame takes about so long through the slowest stage, in milliseconds. */
const frameMs = 2;
/** What weight a measurement keeps when the next one comes. */
const keeps = 0.75;

/** Learns from what reaches the sink how many items a frame may have. */
export class StagePace {
  readonly #most: number;
  readonly #nowMs: () => number;
  #reached: number | undefined;
  #atMs = 0;
  #items = 0;
  #ms = 0;

  constructor(most: number, nowMs: () => number) {
    this.#most = most;
    this.#nowMs = nowMs;
  }

  /** One, while nothing is known. */
  get itemsMax(): number {
    if (this.#items === 0) return 1;
    return Math.max(1, Math.min(this.#most, Math.floor((this.#items / this.#ms) * frameMs)));
  }

  /** Notes that all before number `next` have reached the sink. What came before the first ones is the threads' start. */
  reach(next: number): void {
    const nowMs = this.#nowMs();
    if (this.#reached !== undefined) {
      this.#items = this.#items * keeps + (next - this.#reached);
      this.#ms = this.#ms * keeps + Math.max(0.01, nowMs - this.#atMs);
    }
    this.#reached = next;
    this.#atMs = nowMs;
  }
}
