import { afterAll, describe, expect, it } from "vitest";
import type { DataFormat, TaskDef } from "@selvage/batch";
import { body, codesOf, planOf, ran, sharedThreads } from "./executor-rig.ts";

const threads = sharedThreads();
afterAll(() => threads.close());

const ref = (name: string, format: DataFormat) => ({ name, format });

const reader = (format: DataFormat, seen: unknown[], name = "y"): TaskDef => ({
  name: "read",
  inputs: [ref(name, format)],
  run: (context) => void seen.push(context.input(name)),
});

describe("An encoded output, with a body on a worker thread", () => {
  it.each<[DataFormat, unknown]>([
    ["json", { list: [1, "ä", null], on: false }],
    [
      "msgpack",
      { list: [1, "ä", null], big: 2n ** 63n, at: new Date(0), raw: Uint8Array.of(1, 2) },
    ],
  ])("is decoded there and encoded there: %s", async (format, value) => {
    const seen: unknown[] = [];
    const plan = planOf([
      { name: "make", outputs: [ref("x", format)], run: () => ({ x: value }) },
      {
        name: "far",
        inputs: [ref("x", format)],
        outputs: [ref("y", format)],
        run: body("wrap"),
      },
      reader(format, seen),
    ]);
    const { result, missingBytes } = await ran(plan, {}, undefined, threads.ports);
    expect([result.status, seen, missingBytes]).toEqual(["succeeded", [{ wrapped: value }], 0]);
    expect(result.leases).toMatchObject({ granted: 2, expired: 2, active: 0 });
  });

  it.each<DataFormat>(["json", "msgpack"])(
    "fails its attempt with ENCODE where it has no form: %s",
    async (format) => {
      const plan = planOf([{ name: "far", outputs: [ref("y", format)], run: body("unsayable") }]);
      const { result, missingBytes } = await ran(plan, {}, undefined, threads.ports);
      expect([codesOf(result, "far"), missingBytes]).toEqual([["ENCODE"], 0]);
    },
  );

  it("stays within the run's budget there, too", async () => {
    const plan = planOf([
      { name: "far", outputs: [ref("y", "json")], run: body("list", { of: "5" }) },
    ]);
    const { result } = await ran(plan, { budget: { elements: 4 } }, undefined, threads.ports);
    expect(codesOf(result, "far")).toEqual(["ENCODE"]);
  });
});
