/** How many bytes were where when, in bounded room: a long run is told more coarsely, and no peak is lost. */

/** A change, in bytes; or how many there are. */
export interface ByteCount {
  /** Of memory, in leases that stand. */
  readonly leased: number;
  /** Of memory, in leases that have ended and are not free yet. */
  readonly returning: number;
  /** Of outputs that are on blocks only. */
  readonly spilled: number;
}

/** What was where from `atMs` on, for as long as the series is wide. */
export interface BytePoint {
  readonly atMs: number;
  /** The most within the point's time, and what it was at its end. */
  peakLeased: number;
  peakReturning: number;
  peakSpilled: number;
  leased: number;
  returning: number;
  spilled: number;
}

/** Collects changes. The room is at most that of `pointsMax` points. */
export class ByteSeries {
  readonly #pointsMax: number;
  #points: BytePoint[] = [];
  #widthMs = 1;
  #leased = 0;
  #returning = 0;
  #spilled = 0;

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

  /** So many came to be there; below 0, are not there any more. */
  change(atMs: number, { leased = 0, returning = 0, spilled = 0 }: Partial<ByteCount>): void {
    this.#leased += leased;
    this.#returning += returning;
    this.#spilled += spilled;
    // An event that comes late belongs to the last point: time does not run backwards here.
    const slotMs = Math.max(this.#slot(atMs), this.#points.at(-1)?.atMs ?? -Infinity);
    let point = this.#points.at(-1);
    if (point?.atMs !== slotMs) {
      const peaks = { peakLeased: 0, peakReturning: 0, peakSpilled: 0 };
      point = { atMs: slotMs, ...peaks, leased: 0, returning: 0, spilled: 0 };
      this.#points.push(point);
    }
    point.leased = this.#leased;
    point.returning = this.#returning;
    point.spilled = this.#spilled;
    point.peakLeased = Math.max(point.peakLeased, this.#leased);
    point.peakReturning = Math.max(point.peakReturning, this.#returning);
    point.peakSpilled = Math.max(point.peakSpilled, this.#spilled);
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
      last.spilled = point.spilled;
      last.peakLeased = Math.max(last.peakLeased, point.peakLeased);
      last.peakReturning = Math.max(last.peakReturning, point.peakReturning);
      last.peakSpilled = Math.max(last.peakSpilled, point.peakSpilled);
    }
    this.#points = wider;
  }
}
