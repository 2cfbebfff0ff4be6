// Makes a bare clone ready: installs what the lockfile names, and with it the Node that the sources run on.
// It runs before npm's scripts on whatever Node is there, so it is JavaScript and uses nothing newer than Node 20.
// It writes to stderr only: what the script after it prints on stdout may be read by a program.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { PNPM } from "./pnpm.mjs";
import { withSetupLock } from "./setup-lock.mjs";

const NODE_NEEDED_MAJOR = 24;
const NODE_LEAST_MAJOR = 20;
const ROOT = fileURLToPath(new URL("..", import.meta.url));
const STAMP = join(ROOT, "node_modules", ".selvage-setup");

class SetupError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "SetupError";
    this.code = code;
  }
}

/** What an installation depends on, as one line. A different line means: install again. */
function wanted() {
  const hash = createHash("sha256");
  for (const file of ["pnpm-lock.yaml", "pnpm-workspace.yaml"]) {
    hash.update(readFileSync(join(ROOT, file)));
  }
  return `${hash.digest("hex")} ${process.platform}-${process.arch}\n`;
}

function isReady() {
  return existsSync(STAMP) && readFileSync(STAMP, "utf8") === wanted();
}

/** The Node that npm's scripts will find first on their PATH. */
function installedNode() {
  // The stamp says the installation is whole, and inside npm's scripts this very process is the Node in question.
  if (isReady() && majorOf(process.version) === NODE_NEEDED_MAJOR) return process.version;
  const { stdout, status } = spawnSync("node", ["--version"], {
    cwd: ROOT,
    encoding: "utf8",
    shell: process.platform === "win32",
    env: {
      ...process.env,
      PATH: `${join(ROOT, "node_modules", ".bin")}${pathSeparator()}${process.env["PATH"] ?? ""}`,
    },
  });
  return status === 0 ? stdout.trim() : "none";
}

function pathSeparator() {
  return process.platform === "win32" ? ";" : ":";
}

/** @param {string} version such as `v24.21.0` */
function majorOf(version) {
  return Number(/^v?(\d+)\./.exec(version)?.[1] ?? 0);
}

function install() {
  process.stderr.write(
    `setup: installing what is missing (npx --yes ${PNPM} install --frozen-lockfile)\n`,
  );
  const { status, signal, error } = spawnSync(
    "npx",
    ["--yes", PNPM, "install", "--frozen-lockfile"],
    // Its stdout joins our stderr.
    { cwd: ROOT, stdio: ["ignore", 2, 2], shell: process.platform === "win32" },
  );
  if (status === 0) return;
  const why = error?.message ?? (signal === null ? `exit code ${status}` : `signal ${signal}`);
  throw new SetupError(
    "SETUP_INSTALL_FAILED",
    `installing the dependencies failed (${why}); pnpm's own message is above. ` +
      "Installing needs npm, a package registry that npm can reach, and a pnpm-lock.yaml that fits every package.json.",
  );
}

function checkNode() {
  const found = installedNode();
  if (majorOf(found) === NODE_NEEDED_MAJOR) return;
  throw new SetupError(
    "SETUP_WRONG_NODE",
    `scripts need Node ${NODE_NEEDED_MAJOR}, which the dev dependency "node" installs, but found ${found}. ` +
      "Check that install scripts are not switched off, delete node_modules, and try again.",
  );
}

async function main() {
  if (majorOf(process.version) < NODE_LEAST_MAJOR) {
    throw new SetupError(
      "SETUP_OLD_NODE",
      `setup needs Node ${NODE_LEAST_MAJOR} or newer, and runs on ${process.version}.`,
    );
  }
  if (!isReady()) {
    await withSetupLock(ROOT, () => {
      // Whoever held the lock before us may have done it all.
      if (isReady()) return;
      install();
      checkNode();
      writeFileSync(STAMP, wanted());
    });
  }
  checkNode();
}

try {
  await main();
} catch (error) {
  const code = error instanceof Error && "code" in error ? String(error.code) : "SETUP_FAILED";
  process.stderr.write(
    `setup: ${code}: ${error instanceof Error ? error.message : String(error)}\n`,
  );
  process.exitCode = 1;
}
