import { describe, expect, it } from "vitest";
import { cli, documentOf } from "./rig.ts";

const small = ["--rounds", "2", "--messages", "500"];

describe("selvage bench queue", () => {
  it("measures each size against postMessage, and tells the machine with it", async () => {
    const ended = await cli("bench", "queue", "--size", "4,512", ...small, "--json");
    expect(ended.code).toBe(0);
    const { machine, results } = documentOf(ended) as {
      readonly machine: Readonly<Record<string, unknown>>;
      readonly results: readonly {
        readonly name: string;
        readonly ratios: Readonly<Record<string, number>>;
      }[];
    };
    expect(machine).toMatchObject({ node: process.version, cores: expect.any(Number) as number });
    expect(results.map(({ name }) => name)).toEqual(["queue/4B", "queue/512B"]);
    for (const { ratios } of results) expect(ratios["postMessage"]).toBeGreaterThan(0);
  });

  it("goes on when the queue is full and when it is empty, and shows a table", async () => {
    const { code, stdout } = await cli(
      "bench",
      "queue",
      "--capacity",
      "1",
      "--size",
      "8",
      ...small,
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/^queue\/8B +[\d,]+ +[\d,]+ +\d+\.\d\dx +\d/m);
  });

  it("refuses what cannot be measured", async () => {
    const ended = await cli("bench", "queue", "--size", "1048576", "--capacity", "65536");
    expect(ended.code).toBe(1);
    expect(ended.stderr).toMatch(/^selvage: CAPACITY_EXCEEDED: /m);
    expect((await cli("bench", "queue", "--size", "64,x")).code).toBe(2);
    const { code, stderr } = await cli("bench", "queues");
    expect([code, stderr]).toEqual([2, expect.stringContaining("did you mean queue?")]);
  });
});
