/**
 * `node kv-process.ts <block file> [ticket]`: sets values in a FabricKvStore until it is killed. One line of JSON for the
 * ticket, one for what it found, and one for each round of puts that was acknowledged.
 */
import { writeSync } from "node:fs";
import { Fabric, FabricKvStore, isFabricError, stringCodec, type BlockTicket } from "selvage";

/** A line of the program. */
export type KvTold =
  | { readonly ticket: object }
  | { readonly found: readonly (readonly [key: string, value: string])[] }
  | { readonly round: number };

/** Keys, each of which gets a longer value than the one before. */
export const KEYS: readonly string[] = ["a", "b", "c", "__proto__"];

/** The value of a key in a round: one that says which it is, over one block or several. */
export function valueOf(key: string, round: number): string {
  return `${key}${round};`.repeat(20 + 60 * KEYS.indexOf(key));
}

const tell = (line: KvTold): void => void writeSync(1, `${JSON.stringify(line)}\n`);

/** Opens the file, which the one that was killed may hold for a moment still. */
async function open(path: string): Promise<Fabric> {
  for (;;) {
    try {
      return Fabric.open({ memoryBytes: 65_536, blocks: 256, blockFile: path });
    } catch (error) {
      if (!isFabricError(error) || error.code !== "CONFLICT") throw error;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

async function main(path: string, ticket: string | undefined): Promise<never> {
  const fabric = await open(path);
  const disk =
    ticket === undefined
      ? await fabric.block().minBlocks(96).leaseSecs(3_600).acquire()
      : await fabric.attachBlock(JSON.parse(ticket) as BlockTicket);
  tell({ ticket: disk.ticket() });
  const mem = fabric.mem().minBytes(16_384).acquire();
  const store = await FabricKvStore.fromLeases(mem, disk, { value: stringCodec });
  const found = new Map<string, string>();
  for (const key of await store.keys()) found.set(key, (await store.get(key)) ?? "");
  tell({ found: [...found] });
  const last = /\d+/.exec(found.get("a") ?? "0")?.[0] ?? "0";
  for (let round = Number(last) + 1; ; round++) {
    // The first is durable before the others are begun: nobody may find one of them without it.
    await store.put("a", valueOf("a", round));
    await Promise.all(KEYS.slice(1).map((key) => store.put(key, valueOf(key, round))));
    if (round % 5 === 0) await store.tick(fabric.nowMs());
    tell({ round });
  }
}

if (process.argv[1]?.endsWith("kv-process.ts") === true)
  await main(process.argv[2] ?? "", process.argv[3]);
