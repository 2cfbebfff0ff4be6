/**
 * A durable queue of jobs whose claims are leases: several processes over one file, which crash, stand still, stop in order,
 * lose their clocks and find the file out of order, while jobs wait for each other, fail, overrun, expire, end their process,
 * are cancelled, replayed and forgotten.
 */
import type { Campaign, Check } from "@selvage/sim";
import { processProgram } from "./jobs-nodes.ts";
import { rules } from "./jobs-rules.ts";
import { drawSizes, JobsRun } from "./jobs-run.ts";

const sometimesNames = [
  "a body ended its process",
  "a body got results of other jobs",
  "a body was overrun",
  "a body went on without its claim",
  "a claim was handed back",
  "a claim was lost",
  "a dead letter was replayed",
  "a dead worker's jobs were free in time",
  "a fan gathered its items",
  "a job ended as dead",
  "a job expired",
  "a job was forgotten",
  "a late result was refused",
  "a process died within a transaction",
  "a process has stopped in order",
  "a replay revived what waited",
  "a running job was cancelled",
  "a task was at its limit",
  "a worker was stopped, and handed back",
  "an attempt was tried again",
  "an end went on to what waited",
  "the disk was full",
  "the file could not be written",
  "the file was locked for too long",
  "the power failed",
  "the store failed under a worker",
];

/** Jobs take their time. */
export const share = 1;

/** See above. */
export const campaign: Campaign = {
  name: "jobs",
  swarm: (random) => ({
    nodes: drawSizes(random).nodes,
    kinds: [
      ...(["crash", "crash", "pause", "pause", "suspend"] as const),
      ...(["clockStep", "clockDrift", "clockFreeze"] as const),
      ...(["diskSlow", "diskFull", "ioError", "syncError"] as const),
    ],
    moments: ["job.started", "job.completed", "job.retrying", "job.lost", "worker.started"],
    mostFaults: 40,
  }),
  scenario(random) {
    const sizes = drawSizes(random);
    let run: JobsRun | undefined;
    const atEnd: Check = { name: "jobs at the end", end: () => run?.atEnd() };
    return {
      world(world) {
        const made = new JobsRun(world, sizes);
        run = made;
        for (const name of sizes.nodes) world.node(name, (node) => processProgram(made, node));
      },
      finally: [atEnd],
      sometimes: sometimesNames,
    };
  },
  properties: rules,
  sometimes: sometimesNames,
};
