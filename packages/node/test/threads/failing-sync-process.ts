/**
 * `node failing-sync-process.ts <block file>`: a sync fails once, and the file is opened anew. Prints whether the failure was
 * noted beside the file, before and after, and how many bytes opening it wrote.
 */
import fs, { existsSync, statSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const path = process.argv[2] as string;
const { fdatasync, writeSync } = fs;
let fails = 0;
let written = 0;
fs.fdatasync = ((fd: number, callback: fs.NoParamCallback) => {
  if (fails-- <= 0) return fdatasync(fd, callback);
  process.nextTick(callback, Object.assign(new Error("EIO: fdatasync"), { code: "EIO" }));
}) as typeof fdatasync;
fs.writeSync = ((...args: Parameters<typeof writeSync>) => {
  const count = writeSync(...args);
  written += count;
  return count;
}) as typeof writeSync;
syncBuiltinESMExports();

const { Fabric, isFabricError } = await import("selvage");
const options = { blockFile: path, blocks: 64, memoryBytes: 64 };
const fabric = Fabric.open(options);
const lease = await fabric.block().minBlocks(4).acquire();
await lease.write(0, new Uint8Array(2_048).fill(7));
fails = 1;
let code: string | undefined;
try {
  await lease.flush();
} catch (thrown) {
  if (isFabricError(thrown)) code = thrown.code;
}
const suspect = `${path}.suspect`;
const noted = existsSync(suspect);
await fabric.close();
written = 0;
{
  await using again = Fabric.open(options);
  const opening = written;
  const bytes = statSync(path).size;
  console.log(
    JSON.stringify({
      code,
      noted,
      isNoted: existsSync(suspect),
      written: opening,
      bytes,
      leases: again.leases().length,
    }),
  );
}
