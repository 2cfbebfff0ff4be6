// Checks that links inside the Markdown pages lead somewhere: to a file, and in it to a heading.
import { existsSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path/posix";
import { ROOT } from "../command.ts";
import { files, lines, PAGES } from "../files.ts";
import { report, type Finding } from "../findings.ts";
import { proseOf } from "./prose.ts";

const LINK = /\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g;
const ABSOLUTE = /^(?:[a-z][a-z+.-]*:|\/\/)/i;

/** The fragment that a heading gets on the usual hosts. */
function slug(heading: string): string {
  return heading
    .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replaceAll(/\s/g, "-");
}

function anchorsOf(file: string): Set<string> {
  const seen = new Map<string, number>();
  const anchors = new Set<string>();
  for (const { text } of proseOf(lines(file))) {
    const heading = /^#{1,6}\s+(.*?)\s*#*$/.exec(text)?.[1];
    if (heading !== undefined) {
      const base = slug(heading);
      const count = seen.get(base) ?? 0;
      seen.set(base, count + 1);
      anchors.add(count === 0 ? base : `${base}-${count}`);
    }
    for (const [, id] of text.matchAll(/<a\s+(?:id|name)="([^"]+)"/g)) anchors.add(id as string);
  }
  return anchors;
}

function problem(file: string, link: string): string | undefined {
  const [path = "", fragment] = decodeURI(link).split("#");
  const target = path === "" ? file : normalize(join(dirname(file), path));
  const place = join(ROOT, target);
  if (target.startsWith("..")) return `${link} leaves the repository`;
  if (!existsSync(place)) return `${link} leads nowhere: there is no ${target}`;
  if (fragment === undefined || !target.endsWith(".md") || !statSync(place).isFile())
    return undefined;
  return anchorsOf(target).has(fragment) ? undefined : `${link}: ${target} has no such heading`;
}

function* check(): Generator<Finding> {
  for (const file of files(...PAGES)) {
    for (const { text, line } of proseOf(lines(file))) {
      for (const [, link] of text.replaceAll(/`[^`]*`/g, "").matchAll(LINK)) {
        if (link === undefined || ABSOLUTE.test(link)) continue;
        const message = problem(file, link);
        if (message !== undefined) yield { file, line, message };
      }
    }
  }
}

report("links", [...check()]);
