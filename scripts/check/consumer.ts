// A project elsewhere that installs the tarballs: what a user of the packages sees.
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command, mustRun, ROOT } from "../command.ts";
import { files } from "../files.ts";

/** The oldest Node that packages promise: `engines` of every package. */
const OLDEST_NODE = "22.18.0";
const EXAMPLE = "examples/diamond.ts";

/** Installs the oldest Node beside our own, once, and gives its path. */
async function oldestNode(): Promise<string> {
  const home = join(ROOT, ".cache", `node-${OLDEST_NODE}`);
  const bin = join(home, "node_modules", "node", "bin", "node");
  const version = existsSync(bin) ? (await command([bin, "--version"])).stdout.trim() : "";
  if (version === `v${OLDEST_NODE}`) return bin;
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home, { recursive: true });
  writeFileSync(join(home, "package.json"), JSON.stringify({ private: true }));
  await mustRun(["npm", "install", "--no-audit", "--no-fund", `node@${OLDEST_NODE}`], {
    cwd: home,
  });
  const installed = (await mustRun([bin, "--version"])).trim();
  if (installed !== `v${OLDEST_NODE}`)
    throw new Error(`${bin} is ${installed}, not v${OLDEST_NODE}`);
  return bin;
}

/** A program that loads every package. */
function importAll(): string {
  const names = files("packages/*/package.json").map((file) => {
    return (JSON.parse(readFileSync(join(ROOT, file), "utf8")) as { name: string }).name;
  });
  const imports = names.map((name, index) => `import * as p${index} from ${JSON.stringify(name)};`);
  return `${imports.join("\n")}\nconsole.log([${names.map((_, i) => `p${i}`).join(", ")}].length, "packages load");\n`;
}

function tsconfig(): object {
  return {
    compilerOptions: {
      target: "ES2024",
      lib: ["ESNext"],
      module: "NodeNext",
      rootDir: "src",
      outDir: "out",
      strict: true,
      exactOptionalPropertyTypes: true,
      rewriteRelativeImportExtensions: true,
      types: ["node"],
      typeRoots: [join(ROOT, "node_modules", "@types")],
      noEmitOnError: true,
    },
    include: ["src"],
  };
}

async function install(project: string, tarballs: readonly string[]): Promise<void> {
  const manifest = { name: "consumer", private: true, type: "module" };
  writeFileSync(join(project, "package.json"), JSON.stringify(manifest));
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify(tsconfig()));
  mkdirSync(join(project, "src"));
  writeFileSync(join(project, "src", "import-all.ts"), importAll());
  if (existsSync(join(ROOT, EXAMPLE)))
    cpSync(join(ROOT, EXAMPLE), join(project, "src", "diamond.ts"));
  await mustRun(["npm", "install", "--no-audit", "--no-fund", ...tarballs], { cwd: project });
}

/** Installs the tarballs in an empty folder, compiles programs against their types, and runs them on the oldest Node. */
export async function runInConsumer(tarballs: readonly string[]): Promise<void> {
  const node = await oldestNode();
  const project = mkdtempSync(join(tmpdir(), "selvage-consumer-"));
  try {
    await install(project, tarballs);
    await mustRun(["tsc", "-p", project]);
    for (const program of ["import-all", "diamond"]) {
      const path = join(project, "out", `${program}.js`);
      if (!existsSync(path)) continue;
      const told = await mustRun([node, path], { cwd: project });
      process.stdout.write(`${program} on Node ${OLDEST_NODE}:\n${told}`);
    }
    const bin = join(project, "node_modules", ".bin", "selvage");
    const told = await mustRun([node, bin, "doctor"], { cwd: project });
    process.stdout.write(`selvage doctor on Node ${OLDEST_NODE}:\n${told}`);
  } finally {
    rmSync(project, { recursive: true, force: true });
  }
}
