/** Rules of stages: offsets and state that move together, and who may move them. */
import { mutantsOf, type Mutant } from "./mutant.ts";

const stages = mutantsOf("stages");
const stage = "packages/pipeline/src/staged/checkpointed-stage.ts";
const record = "packages/fence/src/fenced-record.ts";

/** See above. */
export const stagesMutants: readonly Mutant[] = [
  stages(
    "P1",
    "what comes again goes into the state again",
    stage,
    "if (sequence < next) {",
    "if (sequence < 0) {",
  ),
  stages(
    "P1",
    "results that are made again are sent again",
    stage,
    "number >= output.nextSequence",
    "number >= 0",
  ),
  stages(
    "P1",
    "the input offset is ahead of the state",
    stage,
    "({ input: next, output: number, state })",
    "({ input: next + 1, output: number, state })",
  ),
  stages(
    "P1",
    "a checkpoint does not wait for its outputs",
    stage,
    "      await output?.flush();\n",
    "      void output?.flush();\n",
  ),
  stages(
    "P2",
    "a replaced stage goes on writing",
    record,
    "if (generation > own) {",
    "if (generation < 0) {",
  ),
];
