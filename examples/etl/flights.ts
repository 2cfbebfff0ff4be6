/** The flights, as typed columns. */
import type { ColumnShape, ColumnsOf } from "selvage";

/** Types of the columns. 12 bytes a flight. */
export const FLIGHT_COLUMNS = {
  /** Minutes since the Unix epoch, local time. */
  date: "int32",
  /** Minutes late at arrival; negative is early. */
  delay: "int16",
  /** Miles, as the airline reports them. */
  distance: "int16",
  /** Airport codes, by `airport-code.ts`. */
  origin: "uint16",
  destination: "uint16",
} as const;

/** All flights. */
export type Flights = ColumnsOf<typeof FLIGHT_COLUMNS>;

/** What `rows` flights need. */
export function flightShape(rows: number): ColumnShape<typeof FLIGHT_COLUMNS> {
  return { rows, columns: FLIGHT_COLUMNS };
}
