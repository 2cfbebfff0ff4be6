/** `HandoffReader` with this host's timers filled in. */
import { invalidArgument } from "@selvage/fabric";
import {
  HandoffReader as PureHandoffReader,
  type HandoffState,
  type WatchOptions as PureWatchOptions,
} from "@selvage/fence";
import { systemTimer } from "./host-ports.ts";

/** How to watch. The timer is {@link systemTimer} unless another one is given. */
export type WatchOptions = Partial<PureWatchOptions>;

/** Follows a stage's record. See `@selvage/fence`, whose `HandoffReader` this is. */
export class HandoffReader extends PureHandoffReader {
  /**
   * The newest state again and again: now, if there is one, and whenever it is newer. States in between may be left out.
   * A write on this thread wakes it at once; others are found by looking every `periodMs`, 100 unless told otherwise. One
   * watch a reader: two would share what `poll` gives.
   * @throws FabricError `INVALID_ARGUMENT`, as `poll`; the signal's reason.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   * import { Fabric, HandoffReader, HandoffWriter } from "selvage";
   *
   * using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 8 });
   * const blocks = await fabric.block().minBlocks(HandoffWriter.BLOCKS).acquire();
   * const { leaseId, slot, generation } = fabric.mem().acquire();
   * const writer = new HandoffWriter(blocks, "parse");
   * await writer.publish({ kind: "mem", leaseId, slot, generation, offset: 0, bytes: 64 });
   *
   * const reader = new HandoffReader(blocks);
   * for await (const state of reader.watch()) {
   *   assert.equal(state.generation, 1);
   *   break;
   * }
   * ```
   */
  override async *watch(options: WatchOptions = {}): AsyncGenerator<HandoffState, void, undefined> {
    if (typeof options !== "object" || options === null)
      throw invalidArgument("options", "{ timer, periodMs, signal }", options);
    yield* super.watch({ ...options, timer: options.timer ?? systemTimer });
  }
}
