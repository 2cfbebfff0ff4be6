/**
 * The floors of the house. A package may use packages of strictly lower floors only.
 *
 * This is the one table: `npm run check -- floors` holds imports, package.json files, tsconfig references and the table
 * in docs/architecture.md against it. It names packages that are still to come, so that their place is known.
 */
export const FLOORS: Readonly<Record<string, number>> = {
  fabric: 0,
  fence: 1,
  leasekit: 2,
  collections: 2,
  batch: 3,
  jobs: 3,
  pipeline: 3,
  node: 4,
  sim: 4,
  cli: 5,
  selvage: 5,
};

/** Packages up to this floor are pure: they name nothing of the host. */
export const PURE_FLOOR_MAX = 3;

/** `fence` of `@selvage/fence` and of `@selvage/fence/deep`; undefined for what is not ours. */
export function packageOf(specifier: string): string | undefined {
  if (/^selvage(\/|$)/.test(specifier)) return "selvage";
  return /^@selvage\/([^/]+)/.exec(specifier)?.[1];
}

/** `@selvage/fence` of `fence`. */
export function nameOf(folder: string): string {
  return folder === "selvage" ? "selvage" : `@selvage/${folder}`;
}

/** Why `from` may not use `to`, or undefined when it may. */
export function floorProblem(from: string, to: string): string | undefined {
  const [upper, lower] = [FLOORS[from], FLOORS[to]];
  if (upper === undefined) return `${from} has no floor in scripts/floors.ts`;
  if (lower === undefined) return `${to} has no floor in scripts/floors.ts`;
  if (lower < upper) return undefined;
  return `${from} (floor ${upper}) may not use ${to} (floor ${lower}): only strictly lower floors`;
}
