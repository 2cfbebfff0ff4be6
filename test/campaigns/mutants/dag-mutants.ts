/** Rules of runs: what starts when, what counts, and what is kept for whom. */
import { mutantsOf, type Mutant } from "./mutant.ts";

const dag = mutantsOf("dag");
const machine = "packages/batch/src/run-machine.ts";
const shelf = "packages/batch/src/output-shelf.ts";

/** See above. */
export const dagMutants: readonly Mutant[] = [
  dag(
    "D1",
    "a wave starts before the one before has ended",
    machine,
    "if (this.#isByWaves && this.#openInWave === 0) {",
    "if (this.#isByWaves && this.#openInWave <= 1) {",
  ),
  dag("D1, D3", "a failure skips nobody", machine, "    this.#skipDependants(task);\n", ""),
  dag(
    "D1, D3",
    "a failure skips only those that depend on it at first hand",
    machine,
    "        stack.push(after);\n",
    "",
  ),
  dag(
    "D1",
    "a task that is skipped counts as one that is still to come",
    machine,
    "        this.#finish(after, skipped);\n",
    "",
  ),
  dag(
    "D1",
    "an output is let go when the first of its readers has ended",
    shelf,
    "      if (entry.readers.size === 0) this.#letGo(entry);\n",
    "      this.#letGo(entry);\n",
  ),
  dag("D1", "an output is not kept for its readers", shelf, "    scope.add(lease);\n", ""),
];
