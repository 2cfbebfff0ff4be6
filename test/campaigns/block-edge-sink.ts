/** What outlives both processes: a sink that stores numbers with effects, and what each end was told for sure. */
import { sometimes, Violation } from "@selvage/sim";

/** Names of what is held to here. */
export const onceRow =
  "E3: whichever process died: every item once, in order, at a sink that stores numbers with effects";
export const durableRow = "J3: what flush() and acknowledge() said is durable is found again";

/** What item `number` of a stream says. */
export const itemAt = (stream: number, number: number): number =>
  (stream * 31 + number * 7_919) % 65_521;

/** One run's. */
export class Outside {
  /** The stream that is under way; those before it are over. */
  stream = 0;
  readonly #rows: number[][] = [];
  // By end: the lease that it stood on, and the number up to which all was durable there.
  readonly #durable = new Map<string, { readonly leaseId: string; readonly next: number }>();

  rows(stream: number): number[] {
    return (this.#rows[stream] ??= []);
  }

  /** Item `number` came to the sink. */
  store(stream: number, number: number, value: number): void {
    const rows = this.rows(stream);
    const expected = itemAt(stream, number);
    if (value !== expected)
      throw new Violation(onceRow, `item ${number} is ${expected}, and came as ${value}`);
    if (number > rows.length)
      throw new Violation(onceRow, `item ${number} came after ${rows.length - 1}`);
    if (number === rows.length) rows.push(value);
    else sometimes("an item came again, and was known");
  }

  /** An end was told that everything before `next` is durable on its lease. */
  promised(end: string, leaseId: string, next: number): void {
    this.#durable.set(end, { leaseId, next });
  }

  /** What an end found, on the lease that it found. */
  found(end: string, leaseId: string | undefined, next: number): void {
    const promised = this.#durable.get(end);
    if (promised === undefined || promised.leaseId !== leaseId) return;
    sometimes("an end found what it had made durable", promised.next > 0);
    if (next < promised.next)
      throw new Violation(durableRow, `${end}: ${promised.next} were durable, ${next} are there`);
  }

  /** All of a stream was acknowledged, and its producer has heard of it. */
  closed(stream: number, items: number): void {
    const { length } = this.rows(stream);
    if (length !== items) throw new Violation(onceRow, `${length} of ${items} items are there`);
    if (stream === this.stream) this.stream++;
  }
}
