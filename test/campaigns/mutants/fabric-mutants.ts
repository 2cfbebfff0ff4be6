/** Rules of the fabric: its memory and blocks, and what must survive. */
import { mutantsOf, type Mutant } from "./mutant.ts";

const arena = mutantsOf("arena");
const journal = mutantsOf("journal");

/** See above. */
export const fabricMutants: readonly Mutant[] = [
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
];
