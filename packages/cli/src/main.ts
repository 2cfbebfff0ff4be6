#!/usr/bin/env node
/** The program that `selvage` starts. */
import { runCli } from "./program.ts";

process.exitCode = await runCli(process.argv.slice(2), process);
