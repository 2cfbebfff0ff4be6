// Runs every `ts run` block of the pages and every `@example` of the docstrings, each as a program of its own.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { command, ROOT } from "../command.ts";
import { files, lines, text } from "../files.ts";
import { report, type Finding } from "../findings.ts";
import { docstringBlocks, pageBlocks, type DocBlock, type Extraction } from "./doc-blocks.ts";

const BLOCK_MS_MAX = 60_000;
// Under the root, so that the blocks import the packages as any program of this repository does.
const FOLDER = join(ROOT, ".cache", "docs");

function extractAll(): Extraction[] {
  return [
    ...files("README.md", "docs/**/*.md", "packages/*/README.md").map((file) =>
      pageBlocks(file, lines(file)),
    ),
    ...files("packages/*/src/**/*.ts").map((file) => docstringBlocks(file, text(file))),
  ];
}

/** Writes the block at the line it has in its page, so that a stack trace names that line. */
function write({ file, line, code }: DocBlock): string {
  const program = join(FOLDER, `${file.replaceAll("/", "__")}-${line}.ts`);
  mkdirSync(dirname(program), { recursive: true });
  writeFileSync(program, `${"\n".repeat(line - 1)}${code}\nexport {};\n`);
  return program;
}

async function run(block: DocBlock): Promise<Finding | undefined> {
  const program = write(block);
  const { code, output } = await command(
    ["node", "--conditions=@selvage/source", "--expose-gc", program],
    { timeoutMs: BLOCK_MS_MAX },
  );
  if (code === 0) return undefined;
  const told = output.replaceAll(`file://${program}`, block.file).replaceAll(program, block.file);
  const failing = new RegExp(`${RegExp.escape(block.file)}:(\\d+)`).exec(told)?.[1];
  return { file: block.file, line: Number(failing ?? block.line), message: `fails:\n${told}` };
}

/** Runs the blocks, a few at a time, in order. */
async function runAll(blocks: readonly DocBlock[]): Promise<Finding[]> {
  const findings: Finding[] = [];
  const waiting = blocks.values();
  const runner = async (): Promise<void> => {
    for (const block of waiting) {
      const finding = await run(block);
      if (finding !== undefined) findings.push(finding);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, runner));
  return findings.toSorted((a, b) => a.file.localeCompare(b.file) || (a.line ?? 0) - (b.line ?? 0));
}

rmSync(FOLDER, { recursive: true, force: true });
const extractions = extractAll();
const blocks = extractions.flatMap((extraction) => extraction.blocks);
const findings = [...extractions.flatMap(({ broken }) => broken), ...(await runAll(blocks))];
report(`docs: ran ${blocks.length} blocks`, findings);
