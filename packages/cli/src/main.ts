#!/usr/bin/env node
/** The program that `selvage` starts. */
import { runCli } from "./program.ts";

// Whoever reads has read enough: `selvage jobs list | head`.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit();
});

process.exitCode = await runCli(process.argv.slice(2), process);
// A module may have left something that would go on for ever, such as a body that ignores its signal.
for (const stream of [process.stdout, process.stderr])
  await new Promise((resolve) => stream.write("", resolve));
process.exit();
