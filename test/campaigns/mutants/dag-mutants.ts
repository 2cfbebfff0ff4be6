/** Rules of runs: what starts when, what counts, and what is kept for whom. */
import { mutantsOf, type Mutant } from "./mutant.ts";

const dag = mutantsOf("dag");
const machine = "packages/batch/src/machine/run-machine.ts";
const admission = "packages/batch/src/machine/admission.ts";
const run = "packages/batch/src/run/run.ts";
const shelf = "packages/batch/src/data/output-shelf.ts";

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
  dag(
    "D1",
    "a task starts when the first of those before it has succeeded",
    machine,
    "if (open === 0 && this.#status[after] === pending) this.#makeReady(after);",
    "if (this.#status[after] === pending) this.#makeReady(after);",
  ),
  dag(
    "D3",
    "a body that goes on after its attempt gives its slot away",
    machine,
    "    if (lingers) {\n",
    "    if (lingers && task < 0) {\n",
  ),
  dag(
    "D3",
    "a skip names the task before it, not the root",
    machine,
    "        this.#setCause(after, root);\n",
    "        this.#setCause(after, task);\n",
  ),
  dag(
    "D3",
    "there is one slot more",
    machine,
    "    if (this.#free > 0 && this.#stopped === undefined) {",
    "    if (this.#free > -1 && this.#stopped === undefined) {",
  ),
  dag(
    "D3",
    "what a task uses is not counted",
    admission,
    "      if ((this.#taken[at] as number) + outside + this.#demand(at, task) > capacity) return false;\n",
    "",
  ),
  dag(
    "D1",
    "the result of a body whose time was up is taken",
    "packages/batch/src/run/attempt.ts",
    'if (this.#isOver || this.#isRefused) throw lost(this.#parts.task.name, "it was given up");',
    'if (this.#isOver) throw lost(this.#parts.task.name, "it was given up");',
  ),
  dag(
    "D3",
    "a late task is tried again while its body goes on",
    run,
    "book.pause = { isDue: false, isLeft: !lingers, stop };",
    "book.pause = { isDue: false, isLeft: true, stop };",
  ),
  dag(
    "D1",
    "an output is not kept for its readers",
    shelf,
    "    entry.hold = renewals?.hold(lease, { ttlMs, stallMs, policy });\n",
    "    void [renewals, ttlMs, stallMs, policy];\n",
  ),
];
