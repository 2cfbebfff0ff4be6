// Builds every package's dist with tsup, two at a time. Order does not matter: types are read from the sources.
import { dirname, join } from "node:path";
import { mustRun, ROOT } from "./command.ts";
import { files } from "./files.ts";

const AT_ONCE = 2;

const waiting = files("packages/*/tsup.config.ts").values();
const builder = async (): Promise<void> => {
  for (const config of waiting) {
    await mustRun(["tsup", "--silent"], { cwd: join(ROOT, dirname(config)) });
    process.stdout.write(`built ${dirname(config)}\n`);
  }
};
await Promise.all(Array.from({ length: AT_ONCE }, builder));
