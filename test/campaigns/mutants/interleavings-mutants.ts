/** Rules of what threads do at once to rings, leases and maps: their order, and their compare-exchanges. */
import { mutantsOf, type Mutant } from "./mutant.ts";

const interleavings = mutantsOf("interleavings");
const manyRing = "packages/collections/src/many-ring.ts";
const ringSide = "packages/collections/src/ring-side.ts";
const queueWait = "packages/collections/src/queue-wait.ts";
const doorbell = "packages/collections/src/doorbell.ts";
const mapTable = "packages/collections/src/map-table.ts";
const controlPlane = "packages/fabric/src/control-plane.ts";
const quarantine = "packages/fabric/src/quarantine.ts";

/** See above. */
export const interleavingsMutants: readonly Mutant[] = [
  interleavings(
    "R1, R2",
    "the tail is stored without order: the commit word may come before the payload",
    ringSide,
    "this.words.store(this.#positionAt, position);",
    "this.plain[this.#positionAt] = position;",
  ),
  interleavings(
    "R1, R3",
    "the other side's position is loaded without order",
    ringSide,
    "return this.#checked(this.words.load(this.base + at));",
    "return this.#checked(this.plain[this.base + at] as number);",
  ),
  interleavings(
    "R2",
    "a slot for many is ready before its length is there",
    manyRing,
    "    this.plain[slot + 1] = length;\n    this.words.store(slot, wordOf(READY, this.#lap, 0));\n",
    "    this.words.store(slot, wordOf(READY, this.#lap, 0));\n    this.plain[slot + 1] = length;\n",
  ),
  interleavings(
    "R1",
    "a value for many is taken without comparing",
    manyRing,
    "this.words.compareExchange(slot, ready, wordOf(TAKEN, lap, this.who)) === ready",
    "(this.words.store(slot, wordOf(TAKEN, lap, this.who)), true)",
  ),
  interleavings(
    "R1, R3",
    "a slot for many is filled without comparing",
    manyRing,
    "if (this.words.compareExchange(slot, free, wordOf(state, lap, this.who)) !== free) continue;",
    "this.words.store(slot, wordOf(state, lap, this.who));",
  ),
  interleavings(
    "R1, R4",
    "a stuck position is given up without looking back whether it was filled meanwhile",
    manyRing,
    "      if (this.words.compareExchange(this.slotOf(position), free, wordOf(SKIP, lap, 0)) !== free)\n        break;\n",
    "      if (this.words.load(this.slotOf(position)) === free || free >= 0) this.words.store(this.slotOf(position), wordOf(SKIP, lap, 0));\n",
  ),
  interleavings(
    "R4",
    "whoever fills a slot is taken for dead",
    manyRing,
    "return nonce === 0 || whoOf(entry, nonce) !== who;",
    "return true;",
  ),
  interleavings(
    "R4",
    "a claim is given up for lost without comparing",
    ringSide,
    "if (claim !== 0 && words.compareExchange(base + CLAIM, claim, 0) === claim)",
    "if (claim !== 0 && (words.store(base + CLAIM, 0), true))",
  ),
  interleavings(
    "R4",
    "a claim is committed without comparing",
    ringSide,
    "return this.words.compareExchange(this.base + CLAIM, this.#claim, 0) === this.#claim;",
    "this.words.store(this.base + CLAIM, 0); return true;",
  ),
  interleavings(
    "R4",
    "the next producer does not pass a torn claim over",
    ringSide,
    "skipClaim(this.words, this.base, this.words.load(this.base + CLAIM));\n  }",
    "}",
  ),
  interleavings(
    "R6",
    "a wait begins with the tail unpublished: nobody knows that a side holds something back",
    ringSide,
    "    settleLater(this);\n",
    "",
  ),
  interleavings(
    "R6",
    "a sleeper looks before it says that it waits",
    queueWait,
    "const result = attempt();\n  const sleepMs = wasOver ? 0 : Math.min(wait.leftMs(), sleepMsMax);\n  return { result, announced, sleepMs };",
    "const result = attempt();\n  const sleepMs = wasOver ? 0 : Math.min(wait.leftMs(), sleepMsMax);\n  return { result, announced: bell.announce(), sleepMs };",
  ),
  interleavings(
    "R6",
    "a waiter counts the rings after it has raised its flag",
    doorbell,
    "    const count = this.#words.load(this.#count);\n    this.#words.store(this.#flag, 1);\n    return count;",
    "    this.#words.store(this.#flag, 1);\n    return this.#words.load(this.#count);",
  ),
  interleavings(
    "R6",
    "a flag is cleared, and the count stays",
    doorbell,
    "    this.#words.add(this.#count, 1);\n",
    "",
  ),
  interleavings(
    "L4",
    "a renewal does not compare",
    controlPlane,
    "if (words.compareExchangePair(at, low, high, packLow(target), next)) return deadlineMs;",
    "words.store(at, packLow(target)); words.store(at + 1, next); return deadlineMs;",
  ),
  interleavings(
    "A5",
    "a release does not compare",
    controlPlane,
    "if (words.compareExchangePair(at, low, high, low, next)) return this.baseMs + deadline;",
    "words.store(at + 1, next); return this.baseMs + deadline;",
  ),
  interleavings(
    "A5",
    "an end does not compare",
    controlPlane,
    "if (this.words.compareExchangePair(at, low, high, low, next)) return true;",
    "this.words.store(at + 1, next); return true;",
  ),
  interleavings(
    "A5",
    "an end does not look at the generation",
    controlPlane,
    "if (generationOf(high) !== generation || !isLiveState(stateOf(high))) return false;\n      const deadline = deadlineOf(low, high);\n      if (",
    "if (!isLiveState(stateOf(high))) return false;\n      const deadline = deadlineOf(low, high);\n      if (",
  ),
  interleavings(
    "A5",
    "a renewal does not look at the generation",
    controlPlane,
    "const isOwn = generationOf(high) === generation && stateOf(high) === ACTIVE;",
    "const isOwn = stateOf(high) === ACTIVE;",
  ),
  interleavings(
    "L4",
    "a moment is read without looking twice",
    controlPlane,
    "      if (this.words.load(at + 1) !== high) continue;\n",
    "",
  ),
  interleavings(
    "A5, L4",
    "a generation is seen before its deadline",
    controlPlane,
    "    plain[at] = packLow(deadline);\n",
    "    this.words.store(at + 1, packHigh(generation, ACTIVE, deadline)); this.words.store(at, packLow(deadline));\n",
  ),
  interleavings(
    "L4",
    "the clock is set without comparing",
    controlPlane,
    "      if (raised) return this.baseMs + target;\n",
    "      this.words.store(CLOCK_AT, packLow(target)); this.words.store(CLOCK_AT + 1, Math.floor(target / 0x1_0000_0000)); return this.baseMs + target + (raised ? 0 : 0);\n",
  ),
  interleavings(
    "A3, A5",
    "memory is made zero before its lease's word says that it is over",
    "packages/fabric/src/mem-lease.ts",
    '  readonly kind = "mem";\n',
    '  readonly kind = "mem"; override release(): boolean { this.#arena.fill(0, this.#offset, this.#offset + this.bytes); return super.release(); }\n',
  ),
  interleavings(
    "A3",
    "bytes are reclaimed under a thread that may be at them",
    quarantine,
    "return !record.isTicketed || isQuiescentSince(this.#control, forEpoch);",
    "return forEpoch >= 0;",
  ),
  interleavings(
    "M3",
    "a map's reader does not look whether the bucket has changed",
    mapTable,
    "      if (words.add(bucket + BUCKET_VERSION, 0) !== version) continue;\n",
    "",
  ),
  interleavings(
    "M3",
    "a map's writer does not raise the version",
    mapTable,
    "        this.#words.store(link, node);\n        this.#words.add(bucket + BUCKET_VERSION, 1);\n        this.#give(old);\n      }\n      return true;",
    "        this.#words.store(link, node);\n        this.#give(old);\n      }\n      return true;",
  ),
];
