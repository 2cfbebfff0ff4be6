/** Rules of edges: what is kept until it is acknowledged, what is dropped as seen, and who may move one. */
import { mutantsOf, type Mutant } from "./mutant.ts";

const edge = mutantsOf("edge");
const sender = "packages/pipeline/src/edge/edge-sender.ts";
const receiver = "packages/pipeline/src/edge/edge-receiver.ts";
const mover = "packages/pipeline/src/edge/edge-mover.ts";
const home = "packages/pipeline/src/edge/edge-home.ts";

/** See above. */
export const edgeMutants: readonly Mutant[] = [
  edge(
    "E3",
    "a new ring begins after what is not acknowledged",
    sender,
    "    this.#behind = this.#window.count;\n    this.catchUp();",
    "    this.#behind = 0;\n    this.catchUp();",
  ),
  edge(
    "E3",
    "what was seen is given again",
    receiver,
    "    if (number >= this.expected) {",
    "    if (number >= 0) {",
  ),
  edge(
    "E3",
    "an end takes a predecessor's numbers for its own",
    sender,
    "    this.#filledTo = filledTo;",
    "    this.#filledTo = 0;",
  ),
  edge(
    "E3",
    "a consumer begins after what another had taken",
    receiver,
    "    return this.#hasJoined && this.expected < this.#next;",
    "    return false;",
  ),
  edge(
    "E3",
    "what an end cannot know is not told",
    receiver,
    '    if (from === "unknown") this.#lose("unknown");\n    else this.#expected = from;',
    '    if (from !== "unknown") this.#expected = from;',
  ),
  edge(
    "E5",
    "a writer that was replaced goes on",
    mover,
    '  "STALE_EPOCH",\n  "CONFLICT",',
    '  "CONFLICT",',
  ),
  edge(
    "E5",
    "the one that lost keeps its memory",
    home,
    "      lease.release();\n      throw error;",
    "      throw error;",
  ),
  edge(
    "E6",
    "a consumer at its end leaves before its producer has heard",
    mover,
    "  popLast(): void {\n    this.#isOver = true;",
    "  popLast(): void {\n    this.#isOver = true;\n    this.leave();",
  ),
  edge(
    "E3",
    "what a count of items says is not held against where they are",
    "packages/collections/src/ring-notes.ts",
    "if (!isSettled(count, position, mark))",
    "if (!isSettled(count, position, mark) && mark === 1)",
  ),
  edge(
    "E3",
    "a side vouches for a count that it found without its mark",
    "packages/collections/src/ring-side.ts",
    " ^ this.#doubt;",
    ";",
  ),
  edge(
    "E5",
    "an end that could not be opened goes on making rings",
    mover,
    "    } catch (error) {\n      this.leave();\n",
    "    } catch (error) {\n",
  ),
];
