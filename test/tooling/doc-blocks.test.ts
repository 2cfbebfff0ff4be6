import { expect, test } from "vitest";
import { docstringBlocks, pageBlocks } from "../../scripts/check/doc-blocks.ts";

const page = (...text: string[]): string[] => text;

test("pageBlocks() takes the fences that say `ts run`, with the line their code begins on", () => {
  const found = pageBlocks(
    "a.md",
    page("# A", "```ts", "not run", "```", "```ts run", "run();", "```"),
  );
  expect(found.blocks).toEqual([{ file: "a.md", line: 6, code: "run();" }]);
});

test("pageBlocks() does not take a fence shown inside a longer fence", () => {
  const found = pageBlocks("a.md", page("````md", "```ts run", "run();", "```", "````"));
  expect(found.blocks).toEqual([]);
});

test("pageBlocks() reports a fence that is never closed, and does not run the rest of the page", () => {
  const found = pageBlocks("a.md", page("```ts run", "run();"));
  expect(found.blocks).toEqual([]);
  expect(found.broken).toEqual([{ file: "a.md", line: 2, message: "the fence is never closed" }]);
});

const DOCSTRING = `/**
 * Opens.
 *
 * \`\`\`ts
 * outside();
 * \`\`\`
 *
 * @example
 * \`\`\`ts
 * first();
 * \`\`\`
 *
 * @returns a handle
 */`;

test("docstringBlocks() takes the fences of `@example`, and of nothing else", () => {
  const found = docstringBlocks("a.ts", DOCSTRING);
  expect(found.blocks).toEqual([{ file: "a.ts", line: 10, code: "first();" }]);
});

test("docstringBlocks() reports an example that has no code to run", () => {
  const found = docstringBlocks("a.ts", "/**\n * @example open()\n */");
  expect(found.broken.map(({ line }) => line)).toEqual([2]);
});
