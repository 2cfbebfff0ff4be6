/** The `HandoffReader` of this host; what it follows is tested in `packages/fence`. */
import { Fabric, HandoffReader, HandoffWriter, systemTimer, type Locator } from "selvage";
import { HandoffReader as PureHandoffReader } from "@selvage/fence";
import { describe, expect, it } from "vitest";

const refused = (code: string): unknown => expect.objectContaining({ code });

async function withRecord(
  use: (blocks: Awaited<ReturnType<Fabric["attachBlock"]>>, locator: Locator) => Promise<void>,
): Promise<void> {
  await using fabric = Fabric.open({ memoryBytes: 1 << 16, blocks: 8 });
  const blocks = await fabric.block().minBlocks(HandoffWriter.BLOCKS).acquire();
  const { leaseId, slot, generation } = fabric.mem().acquire();
  await use(blocks, { kind: "mem", leaseId, slot, generation, offset: 0, bytes: 64 });
}

describe("HandoffReader", () => {
  it.each([undefined, {}, { periodMs: 1 }, { timer: undefined }, { timer: systemTimer }])(
    "watch(%o) gives each new state by this host's timers",
    async (options) => {
      await withRecord(async (blocks, locator) => {
        // Without the lease id the reader takes this for another record: no write wakes it, and it has to look.
        const { numBlocks } = blocks;
        const unheard = {
          numBlocks,
          readInto: async (index: number, target: Uint8Array) => blocks.readInto(index, target),
          write: async (index: number, bytes: Uint8Array) => blocks.write(index, bytes),
          flush: async () => blocks.flush(),
        };
        const writer = new HandoffWriter(blocks, "parse");
        const seen: number[] = [];
        const late = setTimeout(() => void writer.publish(locator), 20);
        for await (const state of new HandoffReader(unheard).watch(options as never)) {
          seen.push(state.generation);
          if (seen.length === 2) break;
          setTimeout(() => void writer.publish(locator), 20);
        }
        clearTimeout(late);
        expect(seen).toEqual([1, 2]);
      });
    },
  );

  it("ends with the signal's reason", async () => {
    await withRecord(async (blocks) => {
      const ending = new AbortController();
      const next = new HandoffReader(blocks).watch({ signal: ending.signal }).next();
      ending.abort(new Error("enough"));
      await expect(next).rejects.toThrow("enough");
    });
  });

  it.each([null, 5, { timer: 5 }, { timer: {} }, { periodMs: 0 }])(
    "watch(%o) is INVALID_ARGUMENT",
    async (options) => {
      await withRecord(async (blocks) => {
        await expect(new HandoffReader(blocks).watch(options as never).next()).rejects.toEqual(
          refused("INVALID_ARGUMENT"),
        );
      });
    },
  );

  it.each([undefined, null, {}, { timer: {} }])(
    "without a host, watch(%o) is INVALID_ARGUMENT",
    async (options) => {
      await withRecord(async (blocks) => {
        await expect(new PureHandoffReader(blocks).watch(options as never).next()).rejects.toEqual(
          refused("INVALID_ARGUMENT"),
        );
      });
    },
  );
});
