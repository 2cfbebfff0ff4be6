/** What the mappers hand to the reducers: counts by airport. They can be added up in any order, for they are whole. */
import type { ColumnsOf } from "selvage";

/** A flight is late beyond this many minutes. */
export const LATE_MIN = 15;

/** Columns of the counts. */
const DELAY_COLUMNS = {
  /** By `airport-code.ts`. */
  airport: "uint16",
  departures: "int32",
  delaySumMin: "float64",
  late: "int32",
} as const;

/** Counts by airport. */
export type Delays = ColumnsOf<typeof DELAY_COLUMNS>;

/** Adds up counts by airport. */
export class DelaySums {
  readonly #sums = new Map<number, { departures: number; delaySumMin: number; late: number }>();

  add(airport: number, departures: number, delaySumMin: number, late: number): void {
    const sums = this.#sums.get(airport);
    if (sums === undefined) {
      this.#sums.set(airport, { departures, delaySumMin, late });
      return;
    }
    sums.departures += departures;
    sums.delaySumMin += delaySumMin;
    sums.late += late;
  }

  /** Those of the airports that `isWanted`, as columns, by airport. */
  columns(isWanted: (airport: number) => boolean = () => true): Delays {
    const wanted = [...this.#sums]
      .filter(([airport]) => isWanted(airport))
      .toSorted(([a], [b]) => a - b);
    return {
      airport: Uint16Array.from(wanted, ([airport]) => airport),
      departures: Int32Array.from(wanted, ([, { departures }]) => departures),
      delaySumMin: Float64Array.from(wanted, ([, { delaySumMin }]) => delaySumMin),
      late: Int32Array.from(wanted, ([, { late }]) => late),
    };
  }
}
