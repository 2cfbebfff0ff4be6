import { jobStoreConformance, MemoryJobStore } from "@selvage/jobs";
import { describe, expect, it } from "vitest";

const cases = jobStoreConformance({ open: async () => new MemoryJobStore() });

describe("MemoryJobStore", () => {
  it.each(cases.map((one) => [one.name, one] as const))("%s", async (_name, one) => {
    await expect(one.run()).resolves.toBeUndefined();
  });
});
