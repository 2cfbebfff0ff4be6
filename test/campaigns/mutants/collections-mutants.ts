/** Rules of queues, maps, stores and handoffs. */
import { mutantsOf, type Mutant } from "./mutant.ts";

const collections = mutantsOf("collections");

/** See above. */
export const collectionsMutants: readonly Mutant[] = [
  collections(
    "R5",
    "a length is not held against the longest that a value may have",
    "packages/collections/src/ring-side.ts",
    "if (length >= 0 && length <= this.stride) return;",
    "if (length >= 0) return;",
  ),
  collections(
    "R1",
    "a closed ring ends while a claim holds values back",
    "packages/collections/src/value-port.ts",
    'return ring.shape.kind === "many" && this.sizeOf(ring) > 0;',
    "return false;",
  ),
  collections(
    "R4",
    "a skipped claim is not counted",
    "packages/collections/src/many-ring.ts",
    "    if (this.words.compareExchange(slot, word, wordOf(SKIP, lap, 0)) === word)\n      this.words.add(this.base + SKIPPED, 1);\n    return true;",
    "    this.words.compareExchange(slot, word, wordOf(SKIP, lap, 0));\n    return true;",
  ),
  collections(
    "R4",
    "a claim is given back without comparing",
    "packages/collections/src/ring-side.ts",
    "return this.words.compareExchange(this.base + CLAIM, this.#claim, 0) === this.#claim;",
    "this.words.compareExchange(this.base + CLAIM, this.#claim, 0); return true;",
  ),
  collections(
    "R7",
    "a side publishes without asking for its lease",
    "packages/collections/src/ring-side.ts",
    "      this.lease.assertLive();\n      this.publish();\n    } catch {",
    "      this.publish();\n    } catch {",
  ),
  collections(
    "R3",
    "a full ring takes one value more",
    "packages/collections/src/ring-side.ts",
    "return (this.free = this.units - this.distance(this.position(HEAD), this.at + this.lap));",
    "return (this.free = this.units + this.slotUnits - this.distance(this.position(HEAD), this.at + this.lap));",
  ),
  collections(
    "R6",
    "a wait whose time is up does not look",
    "packages/collections/src/queue-wait.ts",
    "  const result = attempt();\n  const sleepMs",
    "  const result = wait.leftMs() > 0 ? attempt() : undefined;\n  const sleepMs",
  ),
  collections(
    "R1",
    "the head passes a value that was not taken",
    "packages/collections/src/many-ring.ts",
    "      this.words.compareExchange(this.base + HEAD, head, this.after(head, taken));\n",
    "      this.words.compareExchange(this.base + HEAD, head, this.after(head, taken + 1));\n",
  ),
  collections(
    "K3",
    "a key lives on past its deadline",
    "packages/collections/src/kv-store.ts",
    "entry !== undefined && entry.deadlineMs > this.#now()",
    "entry !== undefined && entry.deadlineMs + 200 > this.#now()",
  ),
  collections(
    "K4",
    "a replaced store goes on",
    "packages/collections/src/kv-fence.ts",
    "if (generation > this.#own)",
    "if (generation > this.#own + 1e9)",
  ),
  collections(
    "R2",
    "a slot's bytes change after they were written",
    "packages/collections/src/slot-ring.ts",
    "    this.#doubles[this.#unit] = this.#seal + length;\n",
    "    this.#doubles[this.#unit] = this.#seal + length; if (length > 20) this.payload.doubles[this.#unit + 2] = 7;\n",
  ),
  collections(
    "H1",
    "a reader gives a state twice",
    "packages/fence/src/handoff.ts",
    "if (generation <= this.#generation) return undefined;",
    "if (generation < this.#generation) return undefined;",
  ),
  collections(
    "E1",
    "a guard does not compare",
    "packages/fence/src/fenced.ts",
    "if (this.#epoch.isStale(epoch)) return false;",
    "",
  ),
  collections(
    "R2",
    "a shortened record keeps a unit too few",
    "packages/collections/src/record-ring.ts",
    "    this.#units = recordUnits(length);\n  }\n\n  #advance",
    "    this.#units = recordUnits(length) - 1;\n  }\n\n  #advance",
  ),
];
