/** Rules of runs under an id: what is durable before what, what counts for whoever takes a run up, and what is given back. */
import { mutantsOf, type Mutant } from "./mutant.ts";

const resume = mutantsOf("resume");
const checkpoint = "packages/batch/src/data/checkpoint.ts";
const index = "packages/batch/src/data/checkpoint-index.ts";
const extents = "packages/batch/src/data/block-extents.ts";

/** See above. */
export const resumeMutants: readonly Mutant[] = [
  resume(
    "C2",
    "what says that a task has committed may be durable before its outputs",
    checkpoint,
    "      await this.#extents.flush();\n",
    "",
  ),
  resume(
    "C2",
    "a task has committed before that is durable",
    checkpoint,
    "      await index.flush();\n",
    "",
  ),
  resume(
    "C1",
    "what says that a task has committed counts though it is torn",
    index,
    "const isWhole = first === sums[0] && second === sums[1] && view",
    "const isWhole = first + second + sums[0] !== 0.5 && view",
  ),
  resume(
    "C1, D2",
    "a task that has not committed counts as one that has",
    index,
    'if (bytes.every((byte) => byte === 0)) return "empty";',
    "if (bytes.every((byte) => byte === 0)) return [];",
  ),
  resume(
    "D2",
    "what has committed is told as restored, and done again",
    checkpoint,
    "        this.#committed.set(name, extents as Extent[]);\n        tell({",
    "        tell({",
  ),
  resume(
    "D2",
    "what was found is written over",
    extents,
    "    for (const gap of gaps) chunk.ranges.free(gap);\n",
    "    for (const gap of gaps) chunk.ranges.free(gap);\n    for (const { piece } of extents) chunk.ranges.free(piece);\n",
  ),
  resume(
    "D1",
    "an input is read while its bytes are on their way back",
    "packages/batch/src/data/output-shelf.ts",
    "({ lease, moving }) => lease !== undefined && moving === undefined,",
    "({ lease }) => lease !== undefined,",
  ),
  resume(
    "C2",
    "an output is measured when its view may be gone",
    extents,
    "      bytes: length,\n      check: checksum(padded, 0, length),\n",
    "      bytes: bytes.length,\n      check: checksum(padded, 0, bytes.length),\n",
  ),
  resume(
    "C3",
    "a run is taken up with another plan",
    checkpoint,
    "    if (!isOwn)\n",
    "    if (!isOwn && tasks < 0)\n",
  ),
  resume(
    "C3",
    "an id that is at work is run beside",
    checkpoint,
    "    if (running.has(runId))\n",
    '    if (runId === "")\n',
  ),
  resume(
    "C3",
    "a run is over while its commits are on their way to the disk",
    checkpoint,
    "    await Promise.allSettled(this.#committing);\n",
    "",
  ),
  resume(
    "D2",
    "a checkpoint stays when its run has succeeded",
    checkpoint,
    "    if (hasSucceeded) await this.#clear();\n    else this.#leave();\n",
    "    this.#leave();\n",
  ),
  resume(
    "D2",
    "outputs on blocks stay when their run has succeeded",
    checkpoint,
    "    this.#extents.close();\n",
    "    this.#extents.abandon();\n",
  ),
  resume(
    "D2",
    "a run is told as succeeded before that its checkpoint is gone is durable",
    checkpoint,
    "    await index?.settle();\n",
    "",
  ),
];
