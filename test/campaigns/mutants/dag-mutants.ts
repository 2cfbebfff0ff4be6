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
    "while (!this.#isSettled && this.#openInWave === 0) {",
    "while (!this.#isSettled && this.#openInWave <= 1) {",
  ),
  dag(
    "D1, D3",
    "a failure skips nobody",
    machine,
    'const effects = outcome === "succeeded" ? [] : this.#skipDependants(node);',
    "const effects: RunEffect[] = [];",
  ),
  dag(
    "D1, D3",
    "a failure skips only those that depend on it at first hand",
    machine,
    "      for (const after of node.task.before) stack.push(after);\n",
    "",
  ),
  dag(
    "D1",
    "a task that is skipped counts as one that is still to come",
    machine,
    '      node.outcome = "skipped";\n',
    "",
  ),
  dag(
    "D1",
    "an output is let go when the first of its readers has ended",
    shelf,
    "      if (shelf.members.size === 0) this.#letGo(shelf);\n",
    "      this.#letGo(shelf);\n",
  ),
  dag("D1", "an output is not kept for its readers", shelf, "    scope.add(output.lease);\n", ""),
];
