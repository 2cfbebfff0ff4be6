import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import wabt from "wabt";
// By path: the assembled bytes are no public name.
import { KERNEL_BASE64 } from "../src/memory-kernel.ts";

it("memory-kernel.ts carries memory-kernel.wat, assembled", async () => {
  const features = { threads: true, bulk_memory: true };
  const name = "memory-kernel.wat";
  const text = readFileSync(new URL(`../src/${name}`, import.meta.url), "utf8");
  const assembler = await wabt();
  const { buffer } = assembler.parseWat(name, text, features).toBinary({});
  // On a difference the message shows what to commit.
  expect(KERNEL_BASE64).toBe(Buffer.from(buffer).toString("base64"));
});
