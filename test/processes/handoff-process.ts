/**
 * `node handoff-process.ts <block file> <publications>`: publishes on a block file. One line of JSON for the ticket and
 * one for each generation that was acknowledged; then it waits until its standard input ends.
 */
import { once } from "node:events";
import { writeSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { Fabric, HandoffWriter } from "selvage";

const tell = (line: object): void => void writeSync(1, `${JSON.stringify(line)}\n`);
const [path = "", publications] = process.argv.slice(2);

await using fabric = Fabric.open({ memoryBytes: 65_536, blocks: 64, blockFile: path });
const blocks = await fabric.block().minBlocks(HandoffWriter.BLOCKS).leaseSecs(3_600).acquire();
const writer = await HandoffWriter.open(blocks, "parse");
tell({ ticket: blocks.ticket() });
const { leaseId, slot, generation } = blocks;
for (let round = 1; round <= Number(publications); round++) {
  const where = {
    kind: "block",
    leaseId,
    slot,
    generation,
    firstBlock: 0,
    numBlocks: round,
  } as const;
  tell({ generation: (await writer.publish(where)).generation });
  await turn();
}
process.stdin.resume();
await once(process.stdin, "end");
