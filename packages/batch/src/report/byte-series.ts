/** How many bytes were leased when, in bounded room: a long run is told more coarsely, and no peak is lost. */

/** What was leased from `atMs` on, for as long as the series is wide. */
export interface BytePoint {
  readonly atMs: number;
  /** The most within the point's time, and what it was at its end. */
  peakLeased: number;
  peakReturning: number;
  leased: number;
  returning: number;
}

/** Collects changes. The room is at most that of `pointsMax` points. */
export class ByteSeries {
  readonly #pointsMax: number;
  #points: BytePoint[] = [];
  #widthMs = 1;
  #leased = 0;
  #returning = 0;

  constructor(pointsMax: number) {
    this.#pointsMax = pointsMax;
  }

  /** How much time a point stands for, in milliseconds. */
  get widthMs(): number {
    return this.#widthMs;
  }

  get points(): readonly BytePoint[] {
    return this.#points;
  }

  /** Bytes were leased (or, below 0, are not any more), and so with those on their way back. */
  change(atMs: number, leased: number, returning: number): void {
    this.#leased += leased;
    this.#returning += returning;
    // An event that comes late belongs to the last point: time does not run backwards here.
    const slotMs = Math.max(this.#slot(atMs), this.#points.at(-1)?.atMs ?? -Infinity);
    let point = this.#points.at(-1);
    if (point?.atMs !== slotMs) {
      point = { atMs: slotMs, peakLeased: 0, peakReturning: 0, leased: 0, returning: 0 };
      this.#points.push(point);
    }
    point.leased = this.#leased;
    point.returning = this.#returning;
    point.peakLeased = Math.max(point.peakLeased, this.#leased);
    point.peakReturning = Math.max(point.peakReturning, this.#returning);
    while (this.#points.length > this.#pointsMax) this.#widen();
  }

  #slot(atMs: number): number {
    return Math.floor(atMs / this.#widthMs) * this.#widthMs;
  }

  #widen(): void {
    this.#widthMs *= 2;
    const wider: BytePoint[] = [];
    for (const point of this.#points) {
      const atMs = this.#slot(point.atMs);
      const last = wider.at(-1);
      if (last?.atMs !== atMs) {
        wider.push({ ...point, atMs });
        continue;
      }
      last.leased = point.leased;
      last.returning = point.returning;
      last.peakLeased = Math.max(last.peakLeased, point.peakLeased);
      last.peakReturning = Math.max(last.peakReturning, point.peakReturning);
    }
    this.#points = wider;
  }
}
