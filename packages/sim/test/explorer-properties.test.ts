/** The rings, the lease table, reclaim and the map under the explorer: small here, larger in campaigns. */
import { describe, expect, it } from "vitest";
import { explorerProperties, exploreProperty } from "../src/explorer/properties.ts";

const schedulesMax = 5_000;
const few = 20;

describe("the code that ships, explored", { timeout: 60_000 }, () => {
  const small = explorerProperties.filter(({ isSmall }) => isSmall);
  const large = explorerProperties.filter(({ isSmall }) => !isSmall);

  it.each(small)("$name: in every schedule", (property) => {
    const summary = exploreProperty(property, { kind: "exhaustive", mostSchedules: schedulesMax });
    expect(summary.violation).toBeUndefined();
    expect(summary.complete).toBe(true);
    expect(summary.schedules).toBeGreaterThanOrEqual(10);
  });

  it.each(large)("$name: in the first schedules, and in random ones", (property) => {
    for (const depth of [2, 3, 4]) {
      const mode = { kind: "pct", seed: `${depth}`, depth, schedules: few } as const;
      expect(exploreProperty(property, mode)).not.toHaveProperty("violation");
    }
    const first = exploreProperty(property, { kind: "exhaustive", mostSchedules: few });
    expect(first.violation).toBeUndefined();
  });

  it("A3: a handle that is made just as its lease ends is refused, not taken for live", () => {
    const property = large.find(({ name }) => name.includes("attaches while"));
    const mode = { kind: "pct", seed: "1", depth: 4, schedules: 1_200 } as const;
    expect(exploreProperty(property as (typeof large)[number], mode)).not.toHaveProperty(
      "violation",
    );
  });

  it("every property with deaths in its name has some", () => {
    for (const property of explorerProperties.filter(({ name }) => name.includes("dies"))) {
      const mode = { kind: "pct", seed: "1", depth: 2, schedules: few } as const;
      expect(exploreProperty(property, mode).deaths, property.name).toBeGreaterThan(0);
    }
  });
});
