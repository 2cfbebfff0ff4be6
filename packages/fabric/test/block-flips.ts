/** Bits that flip in the table of a block file. */
import { BlockStore, BlockTable, type BlockTicket } from "@selvage/fabric";
import { VirtualHost } from "./rig.ts";
import { filled, openSim, quiet, SimDisk, type Platter } from "./sim-disk.ts";

/** Lease slots of the files here. */
export const slots = 8;
/** Where their records begin, and their leased blocks, in bytes. */
export const recordsAt = 16 * 512;
export const dataAt = recordsAt + 2 * slots * 512;

/** A file after some use: slot 0 has a lease that was renewed, slot 1 one that is over. */
export async function used(): Promise<
  Platter & { host: VirtualHost; tickets: { live: BlockTicket; over: BlockTicket } }
> {
  const host = new VirtualHost();
  const { fabric, disk } = openSim(host);
  const live = await fabric.block().minBlocks(2).leaseMs(1_000).acquire();
  const over = await fabric.block().leaseMs(1_000).acquire();
  await live.write(0, filled(0xaa, 2));
  await live.renew(5_000);
  const tickets = { live: live.ticket(), over: over.ticket() };
  over.release();
  await quiet();
  await live.flush();
  return { bytes: disk.view, host, tickets };
}

/** Does something, of whose writes the one of this number fails: the second of a save writes a record's other copy. */
export async function failing<T>(disk: SimDisk, nth: number, act: () => Promise<T>): Promise<T> {
  let writes = 0;
  disk.fault = ({ kind }) => (kind === "write" && ++writes === nth ? "EIO" : undefined);
  const done = await act();
  await quiet();
  disk.fault = () => undefined;
  if (writes < nth) throw new Error(`there were ${writes} writes`);
  return done;
}

/** A platter with one bit flipped. */
export function flipped(platter: Platter, bit: number): Platter {
  const bytes = platter.bytes.slice();
  bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
  return { bytes };
}

/** The table as it is read from a platter. */
export const tableOf = (platter: Platter): BlockTable =>
  new BlockTable(new BlockStore(new SimDisk(platter), "sim"));

/**
 * Flips bits of a used file one by one: every `step`th of both superblocks, and all of both copies of the records of slots
 * 0 and 1. Gives the bits that were not told as damage of their slot, and the number of those that were.
 */
export function untoldFlips(platter: Platter, step: number): { untold: number[]; told: number } {
  const parts = [
    [0, recordsAt, step],
    [recordsAt, 2 * 512, 1],
    [recordsAt + slots * 512, 2 * 512, 1],
  ] as const;
  const untold: number[] = [];
  let told = 0;
  for (const [at, length, by] of parts)
    for (let bit = at * 8; bit < (at + length) * 8; bit += by) {
      const { damage } = tableOf(flipped(platter, bit));
      const slot = at < recordsAt ? -1 : (Math.floor((bit >> 3) / 512) - 16) % slots;
      const [first] = damage;
      if (damage.length === 1 && first?.slot === slot && first.kind === "recovered") told++;
      else untold.push(bit);
    }
  return { untold, told };
}
