import fc from "fast-check";
import { expect, it } from "vitest";
import { NeedHeap, type Needed } from "../src/data/need-heap.ts";

it("S1: what is needed last comes first, whatever was pushed and taken out in between", () => {
  const steps = fc.array(fc.tuple(fc.nat(2), fc.nat(20)), { maxLength: 200 });
  const property = fc.property(steps, (wanted) => {
    const heap = new NeedHeap<Needed>();
    const inside: Needed[] = [];
    const out: Needed[] = [];
    for (const [what, number] of wanted) {
      if (what < 2) {
        const item: Needed = { need: number, heapAt: -1 };
        heap.push(item);
        inside.push(item);
      } else {
        const [gone] = inside.splice(number % Math.max(inside.length, 1), 1);
        if (gone === undefined) continue;
        heap.remove(gone);
        // Twice is once.
        heap.remove(gone);
        out.push(gone);
      }
      const needs = inside.map(({ need }) => need);
      expect(heap.last?.need).toBe(inside.length === 0 ? undefined : Math.max(...needs));
      expect(new Set(inside.map(({ heapAt }) => heapAt)).size).toBe(inside.length);
    }
    while (heap.last !== undefined) {
      const { last } = heap;
      expect(last.need).toBe(Math.max(...inside.map(({ need }) => need)));
      inside.splice(inside.indexOf(last), 1);
      heap.remove(last);
    }
    expect(inside).toEqual([]);
    expect(out.filter(({ heapAt }) => heapAt !== -1)).toEqual([]);
  });
  fc.assert(property, { numRuns: 300 });
});
