/** A program whose files may not grow beyond a limit that its test has set: what a block file makes of that. */
import { Fabric, isFabricError } from "selvage";

const [path] = process.argv.slice(2);

async function outcomeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "ok";
  } catch (thrown) {
    if (!isFabricError(thrown)) throw thrown;
    return `${thrown.code} ${String(thrown.details["errno"])}`;
  }
}

// A file that is too large is an error of the write, as a full disk is, and not the end of the program.
process.on("SIGXFSZ", () => {});
const options = { blockFile: path as string, blocks: 1_024, blockLeases: 8, memoryBytes: 64 };
await using fabric = Fabric.open(options);
const lease = await fabric.block().minBlocks(1_000).acquire();
const outcomes = {
  // The first part of it fits: a short write, then an error.
  tooMuch: await outcomeOf(lease.write(0, new Uint8Array(lease.bytes).fill(1))),
  little: await outcomeOf(lease.writeBlock(0, Uint8Array.of(2))),
  flush: await outcomeOf(lease.flush()),
  renewal: await outcomeOf(lease.renew(60_000)),
  grant: await outcomeOf(fabric.block().acquire()),
};
lease.release();
await outcomeOf(lease.settle());
process.stdout.write(JSON.stringify(outcomes));
