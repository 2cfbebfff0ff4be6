// Checks what no other tool knows about: the house rules that can be read off the text.
import { files, lines, PAGES } from "../files.ts";
import { report, type Finding } from "../findings.ts";
import { FLOORS, PURE_FLOOR_MAX } from "../floors.ts";
import { proseOf } from "./prose.ts";

const SOURCE_LINES_MAX = 500;

/** A spelling that is not wanted in some files, and what to do instead. */
interface Banned {
  readonly spelling: RegExp;
  readonly files: readonly string[];
  readonly message: string;
}

const CODE = [
  "packages/*/{src,test}/**/*.ts",
  "{examples,benches,test,scripts}/**/*.{ts,mjs}",
  "*.config.ts",
];

const PURE_TESTS = Object.entries(FLOORS)
  .filter(([, floor]) => floor <= PURE_FLOOR_MAX)
  .map(([folder]) => `packages/${folder}/test/**/*.ts`);

// Each spelling has a class in it, so that this file does not match itself.
const BANNED: readonly Banned[] = [
  { spelling: /FIX[M]E/, files: CODE, message: "fix it, or open an issue and cite it" },
  { spelling: /TOD[O](?!\(#\d+\))/, files: CODE, message: "cite the issue in brackets, #123" },
  {
    spelling: /\b(?:describe|it|test|suite|bench)(?:\.\w+)*\.onl[y]\b/,
    files: ["packages/*/test/**/*.ts", "test/**/*.ts"],
    message: "would leave every other test out",
  },
  {
    spelling: /\bsetTimeou[t]\b|\bsleep\(|timers\/promise[s]/,
    files: PURE_TESTS,
    message: "a unit test advances the clock, it does not wait for one",
  },
  {
    spelling: /@ts-(?:ignor[e]|nochec[k])/,
    files: CODE,
    message: "use @ts-expect-error with a sentence that says why",
  },
];

function* spellings({ spelling, files: patterns, message }: Banned): Generator<Finding> {
  for (const file of files(...patterns)) {
    for (const [index, line] of lines(file).entries()) {
      const found = spelling.exec(line)?.[0];
      if (found !== undefined) yield { file, line: index + 1, message: `"${found}": ${message}` };
    }
  }
}

function* sizes(): Generator<Finding> {
  for (const file of files("packages/*/src/**/*.ts")) {
    const count = lines(file).length;
    if (count > SOURCE_LINES_MAX) {
      yield { file, message: `has ${count} lines: ${SOURCE_LINES_MAX} are the limit, 150 the aim` };
    }
  }
}

function* titles(): Generator<Finding> {
  for (const file of files(...PAGES)) {
    const count = proseOf(lines(file)).filter(({ text }) => text.startsWith("# ")).length;
    if (count !== 1) yield { file, message: `should have one title, and has ${count}` };
  }
}

report("tidy", [...BANNED.flatMap((banned) => [...spellings(banned)]), ...sizes(), ...titles()]);
