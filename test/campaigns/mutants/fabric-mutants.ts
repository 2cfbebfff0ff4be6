/** Rules of the fabric: its memory and blocks, and what must survive. */
import { mutantsOf, type Mutant } from "./mutant.ts";

const arena = mutantsOf("arena");
const journal = mutantsOf("journal");
const fileNames = "packages/fabric/src/file-names.ts";
const twoSlots = "packages/fabric/src/two-slot-record.ts";
const durablePool = "packages/fabric/src/durable-pool.ts";
const controlPlane = "packages/fabric/src/control-plane.ts";
const memoryPool = "packages/fabric/src/memory-pool.ts";

/** See above. */
export const fabricMutants: readonly Mutant[] = [
  arena(
    "A1",
    "what is cut off a block begins a unit early",
    "packages/fabric/src/range-allocator.ts",
    "words[restAt + offsetWord] = (words[at + offsetWord] as number) + units;",
    "words[restAt + offsetWord] = (words[at + offsetWord] as number) + units - (units > 4 ? 1 : 0);",
  ),
  arena(
    "A4",
    "a view is not emptied after its callback",
    "packages/fabric/src/mem-lease.ts",
    "      if (copy.byteLength > 0) copy.buffer.transfer();\n",
    "",
  ),
  arena(
    "A2, A5",
    "blocks are made zero before the end of their lease is durable",
    "packages/fabric/src/block-book.ts",
    "      if (!this.isSaved(slot)) await this.save(slot);\n",
    "",
  ),
  arena(
    "A2",
    "blocks of an ended lease stay as they are",
    "packages/fabric/src/block-book.ts",
    "        await this.#device.zero(entry.first, entry.count);\n",
    "",
  ),
  arena(
    "A2",
    "where blocks are cut off is decided twice",
    "packages/fabric/src/block-book.ts",
    "const cutAt = entry.first >= this.#top() ? await this.#shrink() : Infinity;",
    "const cutAt = entry.first >= this.#top() ? (await this.#shrink(), -1) : Infinity;",
  ),
  journal(
    "J4",
    "a store goes on after a failed sync",
    "packages/fabric/src/block-store.ts",
    '      this.#failure ??= this.#unavailable("sync", cause);\n',
    "",
  ),
  journal(
    "J1",
    "an acknowledged write is not synced",
    "packages/fabric/src/block-table.ts",
    "    if (written.length > 0) await this.#store.sync();\n",
    "",
  ),
  journal(
    "J6",
    "a short write counts as a whole one",
    "packages/fabric/src/block-store.ts",
    'disk took no more bytes");\n        done += length;',
    'disk took no more bytes");\n        done = source.length;',
  ),
  journal(
    "J6",
    "a short read counts as a whole one",
    "packages/fabric/src/block-store.ts",
    "target.subarray(done));\n        if (length === 0) break;\n        done += length;\n      }\n      target.fill(0, done);",
    "target.subarray(done));\n        if (length === 0) break;\n        done = target.length;\n      }\n      target.fill(0, done);",
  ),
  journal(
    "J3",
    "a lease's record is written to one of its copies only",
    "packages/fabric/src/block-table.ts",
    "      await this.#store.write(recordAt(this.shape, slot, copy === 0 ? 1 : 0), bytes);\n",
    "",
  ),
  journal(
    "J5",
    "the folder is not synced after a rename",
    fileNames,
    "  names.syncFolder(path);\n",
    "",
  ),
  journal(
    "J5",
    "a file gets its name before its bytes are synced",
    fileNames,
    "      names.sync(draft);\n",
    "",
  ),
  journal(
    "J5",
    "a file is written under its own name",
    fileNames,
    "const draft = `${path}.new`;",
    "const draft = path;",
  ),
  journal(
    "J2",
    "a record's slots do not take turns",
    twoSlots,
    "this.#known = { next, target: newest === 0 ? 1 : 0, mend: damaged !== undefined };",
    "this.#known = { next, target: newest, mend: damaged !== undefined };",
  ),
  journal(
    "L1, J3",
    "after a slot was lost the next generation is the one that it may have had",
    twoSlots,
    "const next = generation + (damaged === undefined ? 1 : 2);",
    "const next = generation + 1;",
  ),
  journal(
    "J3",
    "a slot that fell over its checksum counts",
    twoSlots,
    "  if (view.getInt32(20, true) !== first || view.getInt32(24, true) !== second) return bad;\n",
    "  if (view.getInt32(20, true) === first + 1 && view.getInt32(24, true) === second) return bad;\n",
  ),
  journal(
    "J3",
    "a record that fell back to its older slot does not say so",
    twoSlots,
    "return damaged === undefined ? reading : { ...reading, recovered: { slot: damaged } };",
    "return reading;",
  ),
  journal(
    "J1, L2",
    "a block lease is told before its grant is durable",
    durablePool,
    "      await this.#book.save(lease.slot);\n    } catch",
    "      this.#book.begin(lease.slot);\n    } catch",
  ),
  arena(
    "A2",
    "memory is not zeroed before it is leased again",
    memoryPool,
    "if (this.#guard) memory.fill(ranges.offsetOf(block) * GRANULE_BYTES, 0, bytes);",
    "",
  ),
  arena(
    "A2",
    "blocks are free before they are zero",
    "packages/fabric/src/quarantine.ts",
    "if (wiping === undefined) return this.#effects.freed(record);",
    "if (wiping === undefined || wiping !== null) return this.#effects.freed(record);",
  ),
  arena(
    "A5",
    "a slot's generation does not rise",
    "packages/fabric/src/slot-table.ts",
    "return this.#control.generationOf(slot) + 1;",
    "return Math.max(1, this.#control.generationOf(slot));",
  ),
  arena(
    "A5",
    "a release does not look at the generation",
    controlPlane,
    "const isOwn = generationOf(high) === generation && isLiveState(stateOf(high));",
    "const isOwn = isLiveState(stateOf(high));",
  ),
  arena(
    "A5",
    "an end does not look at the generation",
    controlPlane,
    "if (generationOf(high) !== generation || !isLiveState(stateOf(high))) return false;\n      const deadline = deadlineOf(low, high);\n      if (",
    "if (!isLiveState(stateOf(high))) return false;\n      const deadline = deadlineOf(low, high);\n      if (",
  ),
  arena(
    "A5",
    "a renewal does not look at the generation",
    controlPlane,
    "const isOwn = generationOf(high) === generation && stateOf(high) === ACTIVE;",
    "const isOwn = stateOf(high) === ACTIVE;",
  ),
  arena(
    "A3",
    "an operation does not look whether its lease stands",
    "packages/fabric/src/lease-handle.ts",
    "if (plain[clockAt] !== this.#clock || plain[this.#highAt] !== this.#high) this.#checkAnew();",
    "if (plain[clockAt] === -1) this.#checkAnew();",
  ),
  arena(
    "A6",
    "a tenant's quota of leases is not asked",
    "packages/fabric/src/tenant.ts",
    "if (most === undefined || this.leases < most) return;",
    "if (most === undefined || this.leases <= most) return;",
  ),
];
