/** The plans of the campaign of runs under an id, and what a run without a crash makes of them. */
import type { Disk, DiskRequest } from "@selvage/fabric";
import { SECTOR_BYTES, type RandomStream, type SimNode } from "@selvage/sim";

/** A task: what it reads, and how many outputs it has. */
export interface Shape {
  readonly name: string;
  readonly before: readonly string[];
  readonly outputs: number;
}

/** Draws the tasks of a plan, each after those that it reads. */
export function drawTasks(random: RandomStream): Shape[] {
  const names = Array.from({ length: random.between(2, 9) }, (_, at) => `t${at}`);
  // From 16 outputs on a slot has two blocks, which a power cut can tear apart.
  return names.map((name, at) => ({
    name,
    before: names.slice(0, at).filter(() => random.chance(1, Math.max(2, at >> 1))),
    outputs: random.chance(1, 4) ? random.between(16, 18) : 1,
  }));
}

/** The name of a task's output. */
export const output = (task: string, number = 0): string => `${task}.${number}`;
/** All outputs of a task. */
export const refsOf = ({ name, outputs }: Shape): { name: string; format: "json" }[] =>
  Array.from({ length: outputs }, (_, number) => ({ name: output(name, number), format: "json" }));

/** What each task makes, as a run without a crash does. */
export function valuesOf(tasks: readonly Shape[]): Map<string, number> {
  const values = new Map<string, number>();
  for (const [at, { name, before }] of tasks.entries()) {
    const sum = before.reduce((total, one) => total * 31 + (values.get(one) ?? 0), at + 1);
    values.set(name, sum % 1_000_003);
  }
  return values;
}

/** The node's disk, which tells when a write begins that a crash can tear: then plans can meet it. */
export function tellingDisk(node: SimNode): (request: DiskRequest) => Disk {
  return (request) => {
    const file = node.disk(request);
    return {
      readNow: (offset, target) => file.readNow(offset, target),
      read: (offset, target) => file.read(offset, target),
      write: (offset, source) => {
        if (source.length > SECTOR_BYTES) node.record("disk.writing");
        return file.write(offset, source);
      },
      sync: () => file.sync(),
      truncate: (length) => file.truncate(length),
      close: () => file.close(),
    };
  };
}
