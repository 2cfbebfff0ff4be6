// Checks the packages as their users get them: packed, read by other tools, installed elsewhere, and run on the oldest
// Node that they promise.
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { mustRun, ROOT } from "../command.ts";
import { files } from "../files.ts";
import { PNPM } from "../pnpm.mjs";
import { runInConsumer } from "./consumer.ts";

const TARBALLS = join(ROOT, ".cache", "tarballs");

async function pack(): Promise<string[]> {
  rmSync(TARBALLS, { recursive: true, force: true });
  mkdirSync(TARBALLS, { recursive: true });
  for (const manifest of files("packages/*/package.json")) {
    const cwd = join(ROOT, manifest, "..");
    await mustRun(["npx", "--yes", PNPM, "pack", "--pack-destination", TARBALLS], { cwd });
  }
  return readdirSync(TARBALLS).map((name) => join(TARBALLS, name));
}

await mustRun(["node", join(ROOT, "scripts", "build.ts")]);
const tarballs = await pack();
for (const tarball of tarballs) {
  await mustRun(["publint", "run", tarball, "--strict"]);
  await mustRun(["attw", tarball, "--profile", "esm-only", "--no-emoji"]);
}
process.stdout.write(`publint and attw have nothing to say about ${tarballs.length} tarballs\n`);
await runInConsumer(tarballs);
