/** One step of `npm run check`. */
export interface Step {
  readonly name: string;
  /** What it makes sure of, in one line. */
  readonly checks: string;
  /** Run in order, all of them, so that one failure does not hide another. */
  readonly commands: readonly (readonly [string, ...string[]])[];
  /** A file without which there is nothing to check yet: the step is then skipped. */
  readonly needs?: string;
  /** The step that writes what this one writes too: they never run at once. */
  readonly after?: string;
}

const own = (name: string): readonly [string, string] => ["node", `scripts/check/${name}.ts`];

/** What has to hold before a change is merged, in the order in which they begin: cheapest first. */
export const STEPS: readonly Step[] = [
  { name: "floors", checks: "packages use lower floors only, by name", commands: [own("floors")] },
  { name: "tidy", checks: "house rules that can be read off the text", commands: [own("tidy")] },
  {
    name: "format",
    checks: "prettier has nothing to change",
    commands: [["prettier", "--check", "."]],
  },
  { name: "types", checks: "everything compiles", commands: [["tsc", "-b"]] },
  {
    name: "lint",
    checks: "oxlint, with type information",
    commands: [["oxlint", "--type-aware", "--deny-warnings"]],
  },
  {
    name: "deadcode",
    checks: "every file, export and dependency is used",
    commands: [["knip", "--no-config-hints"]],
  },
  {
    name: "docs",
    checks: "links lead somewhere, and code in pages and docstrings runs",
    commands: [own("links"), own("docs")],
  },
  { name: "examples", checks: "every example runs", commands: [own("examples")] },
  {
    name: "etl",
    checks:
      "the main job on all its rows: the document that it prints, and every row that it writes",
    commands: [own("etl")],
  },
  {
    name: "smoke",
    checks: "every benchmark runs, small",
    commands: [
      ["node", "--expose-gc", "--conditions=@selvage/source", "benches/main.ts", "--smoke"],
    ],
    needs: "benches/main.ts",
  },
  {
    name: "campaign",
    checks: "2,000 seeds of simulated failures, and that 50 of them are the same twice",
    commands: [
      ["node", "--conditions=@selvage/source", "scripts/sim/main.ts", "--seeds", "2000"],
      ["node", "--conditions=@selvage/source", "scripts/sim/main.ts", "--seeds", "50", "--audit"],
    ],
  },
  {
    name: "packages",
    checks: "tarballs install elsewhere and run on the oldest Node promised",
    commands: [own("packages")],
  },
  {
    name: "dist",
    checks: "the tests pass against the built packages",
    after: "packages",
    commands: [
      ["node", "scripts/build.ts"],
      ["vitest", "run", "--config", "vitest.dist.config.ts"],
    ],
  },
];
