/** Whoever runs the main job, by `etl-run.ts`: every run in a process of its own. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { EtlRuns, EtlSide } from "./etl-run.ts";
import type { Step, Subject } from "./harness.ts";

const program = fileURLToPath(new URL("./etl-run.ts", import.meta.url));

/** What a side's steps are called: the whole run, and the middle of it, from the last flight decoded to both answers. */
export function etlStep(side: EtlSide, part: "run" | "middle"): string {
  return `${side}, ${part}`;
}

/**
 * A subject whose turn is one process, which runs these sides one after the other: where times count, one side.
 * `onRss` hears the peak of each process' resident memory, in bytes.
 */
export function etlSubject(
  name: string,
  sides: readonly EtlSide[],
  told: { readonly rows: number; readonly out: string; readonly onRss?: (bytes: number) => void },
): Subject {
  return {
    name,
    async turn() {
      const child = fork(program, [sides.join(), String(told.rows), told.out], {
        execArgv: ["--conditions=@selvage/source"],
      });
      const [{ runs, rssBytes }] = (await Promise.race([
        once(child, "message"),
        once(child, "exit").then(([code]) => {
          throw new Error(`${name}: its process exited with ${String(code)}`);
        }),
      ])) as [EtlRuns];
      told.onRss?.(rssBytes);
      const steps: Record<string, Step> = {};
      for (const { side, ms, middleMs, checksum } of runs) {
        steps[etlStep(side, "run")] = { ns: ms * 1e6, ops: 1, checksum };
        steps[etlStep(side, "middle")] = { ns: middleMs * 1e6, ops: 1, checksum };
      }
      return steps;
    },
  };
}
