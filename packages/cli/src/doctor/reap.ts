/** Giving back what has expired in a block file that nobody writes. */
import { setTimeout as sleep } from "node:timers/promises";
import { Fabric, readBlockFile } from "@selvage/node";

/** What was given back. */
export interface Reaped {
  readonly leases: number;
  readonly bytes: number;
  /** Leases that are over and could not be given back in time. */
  readonly left: number;
}

const lookEveryMs = 20;
const longestMs = 60_000;

const isOver = (lease: { readonly isOver: boolean }): boolean => lease.isOver;

/**
 * Opens the file as its writer, as any next process would: that gives back what is over. Leases that stand are left to
 * their holders. @throws FabricError `CONFLICT`: a process has it open to write.
 */
export async function reapBlockFile(path: string): Promise<Reaped> {
  const before = (await readBlockFile(path)).leases.filter(isOver);
  const fabric = Fabric.open({ blockFile: path, memoryBytes: 64 });
  try {
    const untilMs = Date.now() + longestMs;
    while ((await readBlockFile(path)).leases.some(isOver) && Date.now() < untilMs)
      await sleep(lookEveryMs);
  } finally {
    await fabric.close();
  }
  const after = (await readBlockFile(path)).leases;
  const back = before.filter(
    ({ leaseId }) => !after.some((lease) => isOver(lease) && lease.leaseId === leaseId),
  );
  return {
    leases: back.length,
    bytes: back.reduce((sum, { bytes }) => sum + bytes, 0),
    left: before.length - back.length,
  };
}
