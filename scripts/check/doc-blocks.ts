/** A piece of code in a page or a docstring that is there to be run. */
export interface DocBlock {
  readonly file: string;
  /** The line of its first line of code. */
  readonly line: number;
  readonly code: string;
}

/** A fence that should have been a block and cannot be one. */
export interface BrokenBlock {
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

export interface Extraction {
  readonly blocks: DocBlock[];
  readonly broken: BrokenBlock[];
}

interface Fence {
  readonly info: string;
  readonly line: number;
  readonly code: string[];
  closed: boolean;
}

/** Every fence of some lines. `firstLine` is the number the first of them has in its file. */
function fencesOf(page: readonly string[], firstLine: number): Fence[] {
  const fences: Fence[] = [];
  let open: { fence: Fence; mark: string; indent: number } | undefined;
  for (const [index, text] of page.entries()) {
    const [, space = "", mark, info = ""] = /^(\s*)(`{3,}|~{3,})(.*)$/.exec(text) ?? [];
    if (open === undefined) {
      if (mark === undefined) continue;
      const fence = { info: info.trim(), line: firstLine + index + 1, code: [], closed: false };
      open = { fence, mark, indent: space.length };
      fences.push(fence);
    } else if (mark?.startsWith(open.mark) === true && info.trim() === "") {
      open.fence.closed = true;
      open = undefined;
    } else {
      open.fence.code.push(text.replace(new RegExp(`^\\s{0,${open.indent}}`), ""));
    }
  }
  return fences;
}

function extract(file: string, fences: readonly Fence[]): Extraction {
  const unclosed = fences.filter(({ closed }) => !closed);
  return {
    blocks: fences
      .filter(({ closed }) => closed)
      .map(({ line, code }) => ({ file, line, code: code.join("\n") })),
    broken: unclosed.map(({ line }) => ({ file, line, message: "the fence is never closed" })),
  };
}

/** The fences of a page that say `ts run`. Others are pictures: signatures, excerpts, output. */
export function pageBlocks(file: string, page: readonly string[]): Extraction {
  return extract(
    file,
    fencesOf(page, 1).filter(({ info }) => /^ts\s+run\b/.test(info)),
  );
}

/** The fences of every `@example` in the docstrings of a source file. */
export function docstringBlocks(file: string, source: string): Extraction {
  const found: Extraction = { blocks: [], broken: [] };
  for (const comment of source.matchAll(/\/\*\*[\s\S]*?\*\//g)) {
    const firstLine = source.slice(0, comment.index).split("\n").length;
    const text = comment[0]
      .replace(/\*\/$/, "")
      .split(/\r?\n/)
      .map((line) => line.replace(/^\s*\/?\*+ ?/, ""));
    for (const { lines, line } of examplesOf(text, firstLine)) {
      const fences = fencesOf(lines, line).filter(({ info }) => /^(ts|typescript)\b/.test(info));
      if (fences.length === 0) {
        found.broken.push({ file, line, message: "@example has no ```ts fence to run" });
      }
      const { blocks, broken } = extract(file, fences);
      found.blocks.push(...blocks);
      found.broken.push(...broken);
    }
  }
  return found;
}

/** The parts of a docstring from an `@example` to the next tag. A decorator inside a fence is no tag. */
function examplesOf(
  text: readonly string[],
  firstLine: number,
): { lines: string[]; line: number }[] {
  const examples: { lines: string[]; line: number }[] = [];
  let current: { lines: string[]; line: number } | undefined;
  let fenced = false;
  for (const [index, line] of text.entries()) {
    if (/^\s*```/.test(line)) fenced = !fenced;
    const tag = fenced ? undefined : /^\s*@(\w+)/.exec(line)?.[1];
    if (tag === "example") {
      current = { lines: [], line: firstLine + index };
      examples.push(current);
    } else if (tag !== undefined) current = undefined;
    // The tag's own line stays in, blank, so that the numbers stay true.
    current?.lines.push(tag === "example" ? "" : line);
  }
  return examples;
}
