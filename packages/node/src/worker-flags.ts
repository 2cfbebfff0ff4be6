/**
 * What a thread of ours gets of the program's own flags. Normally all of them, as Node does it. A program given by
 * `--eval` may have `--input-type` among them, under which no worker starts that has a file: then it gets those by
 * which modules are found, and no others.
 */
const resolution = /^(-C|--conditions|-r|--require|--import|--loader|--experimental-loader)(=|$)/;

/** Options of a worker of ours. */
export function workerFlags(flags: readonly string[] = process.execArgv): {
  readonly execArgv?: string[];
} {
  if (!flags.some((flag) => flag.startsWith("--input-type"))) return {};
  const execArgv: string[] = [];
  for (let index = 0; index < flags.length; index++) {
    const flag = flags[index] as string;
    if (!resolution.test(flag)) continue;
    execArgv.push(flag);
    // Its value stands in the next place, unless it is joined to it.
    if (!flag.includes("=")) execArgv.push(flags[++index] ?? "");
  }
  return { execArgv };
}
