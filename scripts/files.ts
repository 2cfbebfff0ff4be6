import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./command.ts";

const NOT_OURS = new Set(["node_modules", "dist", ".cache", ".git", "coverage"]);

/** Every Markdown page. */
export const PAGES: readonly string[] = [
  "*.md",
  "docs/**/*.md",
  "packages/*/*.md",
  "{examples,benches,test}/**/*.md",
];

/** The repository's own files that match, as paths from its root with `/`, sorted. */
export function files(...patterns: readonly string[]): string[] {
  const found = globSync([...patterns], {
    cwd: ROOT,
    exclude: (path) => NOT_OURS.has(path.split(/[\\/]/).at(-1) ?? path),
  });
  return [...new Set(found.map((path) => path.replaceAll("\\", "/")))].toSorted();
}

/** The text of one of them. */
export function text(file: string): string {
  return readFileSync(join(ROOT, file), "utf8");
}

/** The lines of one of them; `lines(file)[0]` is line 1. */
export function lines(file: string): string[] {
  return text(file).split(/\r?\n/);
}
