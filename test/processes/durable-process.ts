/**
 * `node durable-process.ts <block file> [ticket]`: counts in a Durable until it is killed. One line of JSON for the
 * ticket, one for what was restored, and one for each acknowledged checkpoint, written before the next begins.
 */
import { writeSync } from "node:fs";
import { Durable, Fabric, isFabricError, type BlockTicket } from "selvage";
import { bulkOf, type Counted } from "./durable-value.ts";

const tell = (line: object): void => void writeSync(1, `${JSON.stringify(line)}\n`);
const [path = "", ticket] = process.argv.slice(2);

/** Opens the file, which the one that was killed may hold for a moment still. */
async function open(): Promise<Fabric> {
  for (;;) {
    try {
      return Fabric.open({ memoryBytes: 65_536, blocks: 64, blockFile: path });
    } catch (error) {
      if (!isFabricError(error) || error.code !== "CONFLICT") throw error;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

const fabric = await open();
const blocks =
  ticket === undefined
    ? await fabric.block().minBlocks(16).leaseSecs(3_600).acquire()
    : await fabric.attachBlock(JSON.parse(ticket) as BlockTicket);
tell({ ticket: blocks.ticket() });
const durable = await Durable.restore<Counted>(blocks, undefined, () => ({
  count: 0,
  bulk: bulkOf(0),
}));
tell({ restored: durable.value, generation: durable.generation });
for (;;) {
  await durable.mutate(({ count }) => ({ count: count + 1, bulk: bulkOf(count + 1) }));
  const generation = await durable.checkpoint();
  tell({ count: durable.value.count, generation });
}
