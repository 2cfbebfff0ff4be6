/** Checks under the names that the project's documents give their rules, so that a report tells which property broke. */
import { check, Violation, type Check } from "@selvage/sim";

/** The same check, under another name. */
export function as(name: string, { observe, end }: Check): Check {
  const renamed =
    <T>(look: ((what: T) => void) | undefined) =>
    (what: T): void => {
      try {
        look?.(what);
      } catch (thrown) {
        if (!(thrown instanceof Violation)) throw thrown;
        const message = thrown.message.slice(thrown.property.length + 2);
        throw new Violation(name, message, thrown.seq, thrown.verdict, { cause: thrown });
      }
    };
  return { name, observe: renamed(observe), end: renamed(end) };
}

/** A1, as the accounts tell it. */
export const a1 = "A1: live ranges are disjoint, and the accounts add up";
/** A5. */
export const a5 = "A5: a lease ends once, and reclaim is guarded by the generation";

/** Of every fabric: what {@link a1} and {@link a5} say. */
export function leaseChecks(): readonly Check[] {
  return [as(a1, check.conservation()), as(a5, check.singleTerminalState())];
}
