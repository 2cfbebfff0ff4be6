/** Rules of an edge over blocks: what is kept until it is acknowledged, when it is durable, and where it is found. */
import { mutantsOf, type Mutant } from "./mutant.ts";

const edge = mutantsOf("block-edge");
const producer = "packages/pipeline/src/block-edge/block-edge-producer.ts";
const consumer = "packages/pipeline/src/block-edge/block-edge-consumer.ts";
const batches = "packages/pipeline/src/block-edge/block-edge-batches.ts";

/** See above. */
export const blockEdgeMutants: readonly Mutant[] = [
  edge(
    "E3",
    "a new lease begins after the oldest batch that is not acknowledged",
    producer,
    "this.#unacknowledged.map((batch, index)",
    "this.#unacknowledged.slice(1).map((batch, index)",
  ),
  edge(
    "E3",
    "what comes again over blocks is given again",
    consumer,
    "if (number < this.#expected) this.#dropped++;",
    "if (number < 0) this.#dropped++;",
  ),
  edge(
    "J3",
    "a batch is durable before its sync",
    batches,
    "    await this.#blocks.flush();\n",
    "    void this.#blocks.flush().catch(() => {});\n",
  ),
  edge(
    "E6",
    "a consumer begins at a new lease's first batch, acknowledged or not",
    consumer,
    "    const next = batches.find(",
    "    if (batches.length >= 0) return 0;\n    const next = batches.find(",
  ),
];
