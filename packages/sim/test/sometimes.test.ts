import { FabricError } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { Counters, currentCounters, sometimes, withCounters } from "../src/sometimes.ts";

describe("the counters of a run", () => {
  it("count by name, and are written sorted by it", () => {
    const counters = new Counters();
    for (const name of ["b", "a", "b", "B"]) counters.hit(name);
    counters.hit("a", 3);
    expect(JSON.stringify(counters)).toBe('{"B":1,"a":4,"b":2}');
    expect([counters.count("a"), counters.count("z")]).toEqual([4, 0]);
  });

  it("name what was required and never happened", () => {
    const counters = new Counters();
    counters.require("c", "a", "b");
    counters.hit("b");
    expect(counters.zeros()).toEqual(["a", "c"]);
    counters.require("b");
    expect(counters.count("b")).toBe(1);
  });

  it("merge with another run's, zeros too, as counters or as what was written of them", () => {
    const one = new Counters();
    one.hit("a");
    const two = new Counters();
    two.hit("a", 2);
    two.require("b", "__proto__");
    one.merge(two);
    expect(one.zeros()).toEqual(["__proto__", "b"]);
    one.merge({ b: 5 });
    expect([one.count("a"), one.count("b")]).toEqual([3, 5]);
    expect(two.count("b")).toBe(0);
  });

  it("refuse what is no count", () => {
    for (const times of [-1, 0.5, NaN])
      expect(() => new Counters().hit("a", times)).toThrow(FabricError);
  });
});

describe("sometimes", () => {
  it("does nothing outside of a run", () => {
    expect(currentCounters()).toBe(undefined);
    expect(() => sometimes("anything")).not.toThrow();
  });

  it("counts where it is so, and makes the name known where it is not", () => {
    const counters = new Counters();
    const result = withCounters(counters, () => {
      sometimes("so");
      sometimes("not so", false);
      sometimes("so", true);
      return 7;
    });
    expect(result).toBe(7);
    expect(counters.toJSON()).toEqual({ so: 2, "not so": 0 });
    expect(currentCounters()).toBe(undefined);
  });

  it("follows a run through its promises, though another is under way", async () => {
    const runs = [new Counters(), new Counters()];
    await Promise.all(
      runs.map((counters, index) =>
        withCounters(counters, async () => {
          for (let turn = 0; turn < 3; turn++) {
            await Promise.resolve();
            sometimes(`run ${index}`);
          }
        }),
      ),
    );
    expect(runs.map((counters) => counters.toJSON())).toEqual([{ "run 0": 3 }, { "run 1": 3 }]);
  });
});
