// Checks that every package uses only packages of lower floors, by name, and says so in its package.json.
import { join, normalize } from "node:path/posix";
import ts from "typescript";
import { files, lines, text } from "../files.ts";
import { report, type Finding } from "../findings.ts";
import { FLOORS, floorProblem, nameOf, packageOf } from "../floors.ts";

interface Manifest {
  readonly name: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

interface Project {
  readonly references?: readonly { readonly path: string }[];
}

const ARCHITECTURE = "docs/architecture.md";
const folders = files("packages/*/package.json").map((file) => file.split("/")[1] as string);

const manifestOf = (folder: string): Manifest =>
  JSON.parse(text(`packages/${folder}/package.json`)) as Manifest;

const referencesOf = (file: string): string[] => {
  const parsed = ts.parseConfigFileTextToJson(file, text(file)).config as Project;
  return (parsed.references ?? []).map(({ path }) => path);
};

function ourDependencies({
  dependencies,
  peerDependencies,
  optionalDependencies,
}: Manifest): string[] {
  const all = Object.keys({ ...dependencies, ...peerDependencies, ...optionalDependencies });
  return all.map(packageOf).filter((folder) => folder !== undefined);
}

function* checkManifest(folder: string): Generator<Finding> {
  const file = `packages/${folder}/package.json`;
  const manifest = manifestOf(folder);
  if (manifest.name !== nameOf(folder)) {
    yield { file, message: `the name should be ${nameOf(folder)}, and is ${manifest.name}` };
  }
  const dependencies = ourDependencies(manifest);
  for (const dependency of dependencies) {
    const message = floorProblem(folder, dependency);
    if (message !== undefined) yield { file, message };
  }
  const expected = dependencies.map((name) => `../${name}`).toSorted();
  const actual = referencesOf(`packages/${folder}/tsconfig.json`).toSorted();
  if (expected.join() !== actual.join()) {
    const message = `references should be the dependencies (${expected.join(", ")}), and are ${actual.join(", ")}`;
    yield { file: `packages/${folder}/tsconfig.json`, message };
  }
}

/** What a file imports, with the line it does it on. */
function importsOf(file: string): { specifier: string; line: number }[] {
  const source = text(file);
  return ts.preProcessFile(source, true, true).importedFiles.map(({ fileName, pos }) => ({
    specifier: fileName,
    line: source.slice(0, pos).split("\n").length,
  }));
}

function importProblem(folder: string, file: string, specifier: string): string | undefined {
  const inSource = file.startsWith(`packages/${folder}/src/`);
  if (specifier.startsWith(".")) {
    const home = inSource ? `packages/${folder}/src/` : `packages/${folder}/`;
    const target = normalize(join(file, "..", specifier));
    return target.startsWith(home)
      ? undefined
      : `${specifier} leaves ${home}: import by package name`;
  }
  const to = packageOf(specifier);
  if (to === undefined) return undefined;
  if (specifier !== nameOf(to)) return `${specifier} is a deep path: import ${nameOf(to)}`;
  if (!inSource) return undefined; // A test may bring real ports from a higher floor.
  const declared = ourDependencies(manifestOf(folder)).includes(to);
  return floorProblem(folder, to) ?? (declared ? undefined : `${specifier} is not in package.json`);
}

/** The dead code check cannot see these: the workspace's root depends on every package for the pages' sake. */
function* checkUnused(folder: string): Generator<Finding> {
  const sources = files(`packages/${folder}/src/**/*.ts`);
  const used = new Set(sources.flatMap(importsOf).map(({ specifier }) => packageOf(specifier)));
  for (const dependency of ourDependencies(manifestOf(folder))) {
    if (used.has(dependency)) continue;
    const message = `${nameOf(dependency)} is a dependency that no source imports`;
    yield { file: `packages/${folder}/package.json`, message };
  }
}

function* checkImports(folder: string): Generator<Finding> {
  for (const file of files(`packages/${folder}/{src,test}/**/*.ts`)) {
    for (const { specifier, line } of importsOf(file)) {
      const message = importProblem(folder, file, specifier);
      if (message !== undefined) yield { file, line, message };
    }
  }
}

/** The solution files name every package, so that none escapes the compiler. */
function* checkSolutions(): Generator<Finding> {
  for (const file of ["tsconfig.json", "tsconfig.programs.json"]) {
    const named = referencesOf(file);
    for (const folder of folders) {
      if (!named.includes(`packages/${folder}`)) {
        yield { file, message: `does not reference packages/${folder}` };
      }
    }
  }
}

/** The page's table has a line for each floor: its number, then the names that live there. */
function* checkArchitecture(): Generator<Finding> {
  if (files(ARCHITECTURE).length === 0) return;
  const rows = lines(ARCHITECTURE)
    .map((line) => /^[\s|]*(\d)[\s|]+(\S.*)$/.exec(line))
    .filter((match) => match !== null)
    .map(([, floor, names]) => ({
      floor: Number(floor),
      words: (names as string).split(/[^\w-]+/),
    }));
  for (const [folder, floor] of Object.entries(FLOORS)) {
    if (!rows.some((row) => row.floor === floor && row.words.includes(folder))) {
      yield { file: ARCHITECTURE, message: `the table has no line "${floor} ... ${folder}"` };
    }
  }
}

report("floors", [
  ...folders.flatMap((folder) => [
    ...checkManifest(folder),
    ...checkImports(folder),
    ...checkUnused(folder),
  ]),
  ...checkSolutions(),
  ...checkArchitecture(),
]);
