// Runs every `ts run` block of the pages and every `@example` of the docstrings: some in one process, as starting one costs more than
// most blocks do. Where that fails, each of them is run as a program of its own.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { command, ROOT } from "../command.ts";
import { files, lines, text } from "../files.ts";
import { report, type Finding } from "../findings.ts";
import { docstringBlocks, pageBlocks, type DocBlock, type Extraction } from "./doc-blocks.ts";

const BLOCK_MS_MAX = 60_000;
/** Blocks that share a process. */
const TOGETHER = 8;
/** What the process of several says behind the last of them: one that a block ends does not get there. */
const ALL_RAN = "every block has run";
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

async function start(program: string, blocks: number): Promise<{ code: number; output: string }> {
  return command(["node", "--conditions=@selvage/source", "--expose-gc", program], {
    timeoutMs: blocks * BLOCK_MS_MAX,
  });
}

async function run(block: DocBlock): Promise<Finding | undefined> {
  const program = write(block);
  const { code, output } = await start(program, 1);
  if (code === 0) return undefined;
  const told = output.replaceAll(`file://${program}`, block.file).replaceAll(program, block.file);
  const failing = new RegExp(`${RegExp.escape(block.file)}:(\\d+)`).exec(told)?.[1];
  return { file: block.file, line: Number(failing ?? block.line), message: `fails:\n${told}` };
}

/** Runs some blocks, one after the other, in one process. */
async function runTogether(blocks: readonly DocBlock[], name: string): Promise<Finding[]> {
  const imports = blocks.map((block) => `await import(${JSON.stringify(write(block))});\n`);
  const program = join(FOLDER, `${name}.ts`);
  writeFileSync(program, `${imports.join("")}console.log(${JSON.stringify(ALL_RAN)});\n`);
  const { code, output } = await start(program, blocks.length);
  if (code === 0 && output.includes(ALL_RAN)) return [];
  const alone: Finding[] = [];
  for (const block of blocks) {
    const finding = await run(block);
    if (finding !== undefined) alone.push(finding);
  }
  if (alone.length > 0) return alone;
  const [first] = blocks;
  const places = blocks.map(({ file, line }) => `${file}:${line}`).join(", ");
  return [{ file: first?.file ?? "", message: `fails beside ${places}:\n${output}` }];
}

/** Runs all blocks, a few processes at a time, in order. */
async function runAll(blocks: readonly DocBlock[]): Promise<Finding[]> {
  const findings: Finding[] = [];
  let begun = 0;
  const runner = async (): Promise<void> => {
    while (begun < blocks.length) {
      const from = begun;
      begun += TOGETHER;
      findings.push(...(await runTogether(blocks.slice(from, begun), `from-${from}`)));
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
