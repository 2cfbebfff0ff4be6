import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LiveAttempts, type Live } from "../src/run/live-attempts.ts";

const live = (number: number): Live => ({ number }) as Live;

describe("The attempts at work", () => {
  it("are told in the order in which they started, whoever has ended", () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 9 }), { maxLength: 60 }), (numbers) => {
        const attempts = new LiveAttempts();
        const model = new Set<Live>();
        const known = Array.from({ length: 10 }, (_, number) => live(number));
        for (const number of numbers) {
          const one = known[number] as Live;
          if (model.delete(one)) attempts.delete(one);
          else {
            attempts.add(one);
            model.add(one);
          }
          expect(attempts.all().map((other) => other.number)).toEqual(
            [...model].map((other) => other.number),
          );
          const ended = known.filter((other) => !model.has(other));
          expect(
            ended.filter(({ before, after }) => before !== undefined || after !== undefined),
          ).toEqual([]);
        }
      }),
    );
  });

  it("are not changed by one that ends twice", () => {
    const attempts = new LiveAttempts();
    const [first, second] = [live(1), live(2)];
    attempts.add(first);
    attempts.add(second);
    attempts.delete(second);
    attempts.delete(second);
    attempts.delete(first);
    attempts.delete(first);
    expect(attempts.all()).toEqual([]);
    attempts.add(second);
    expect(attempts.all()).toEqual([second]);
  });
});
