import { globSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import type { Options } from "tsup";

type Plugin = NonNullable<Options["esbuildPlugins"]>[number];

/** A file that a thread is started on has to stay a file of its own. */
const WORKERS = "src/**/*-worker.ts";

// `new URL("./keeper-worker.ts", import.meta.url)`: the whole specifier, and the file's name without `.ts`.
const WORKER_URL = /(new URL\(\s*["'])[^"']*?([\w.]+(?:-[\w.]+)*-worker)\.ts(["'])/g;

/** Points the URLs of worker files, which sources write as `.ts`, at the `.js` beside the bundle. */
const workerUrls: Plugin = {
  name: "worker-urls",
  setup(build) {
    build.onLoad({ filter: /[\\/]src[\\/].*\.ts$/ }, async ({ path }) => ({
      contents: (await readFile(path, "utf8")).replace(WORKER_URL, "$1./$2.js$3"),
      loader: "ts",
    }));
  },
};

function entries(): Record<string, string> {
  const workers = globSync(WORKERS).map((path) => [basename(path, ".ts"), path]);
  return { index: "src/index.ts", ...Object.fromEntries(workers) };
}

/** How every package is built. One file each, so that a stack trace names few places. */
export const packageBuild: Options = {
  entry: entries(),
  format: "esm",
  platform: "node",
  // `node:sqlite` has no other name.
  removeNodeProtocol: false,
  // The oldest Node that packages promise; `using` is compiled down for it.
  target: "node22.18",
  dts: { compilerOptions: { composite: false, incremental: false } },
  sourcemap: true,
  clean: true,
  esbuildPlugins: [workerUrls],
};
