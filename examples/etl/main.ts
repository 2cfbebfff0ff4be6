/** `npm run etl`: the main job. See `job.ts` for what it does, `--help` for what it can be told. */

// Before anything is loaded: an interrupt ends the job in order from its first moment.
const interrupt = new AbortController();
let interruptedBy: "SIGINT" | "SIGTERM" | undefined;
const exitStatus = { SIGINT: 130, SIGTERM: 143 } as const;

for (const name of ["SIGINT", "SIGTERM"] as const)
  process.on(name, () => {
    // The second one does not wait.
    if (interruptedBy !== undefined) process.exit(exitStatus[name]);
    interruptedBy = name;
    interrupt.abort(new DOMException(`interrupted by ${name}`, "AbortError"));
  });

// Whoever reads the output has gone: there is nobody to work for.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  interrupt.abort(new DOMException("nobody reads the output", "AbortError"));
});

const { runCli } = await import("./cli.ts");
const status = await runCli(process.argv.slice(2), interrupt.signal);
process.exitCode = interruptedBy === undefined ? status : exitStatus[interruptedBy];
