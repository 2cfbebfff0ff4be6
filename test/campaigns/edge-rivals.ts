/** Two controllers of one edge move it at once: one goes on, and the other is told what it had, and leaves no memory behind. */
import { isFabricError } from "@selvage/fabric";
import type { RelocatableQueueEdge } from "@selvage/pipeline";
import { sometimes, Violation } from "@selvage/sim";
import { attempt, EDGE_STAGE_TICK_MS, type EdgeStage } from "./edge-stage.ts";

/** Names of what is held to here. */
export const rivalsProperty =
  "E5: of two controllers one goes on, the other hears what it had, and its memory is given back";

/** See above. */
export async function rivalsEpisode(stage: EdgeStage): Promise<void> {
  const { node, random } = stage;
  const first = await stage.openProducer();
  const consumer = await stage.openConsumer();
  const got: number[] = [];
  const lost: unknown[] = [];
  let pushed = 0;
  for (let count = random.below(2 * stage.capacity); count > 0; count--)
    if (attempt(first, () => first.push(stage.value(pushed)), false)) pushed++;
  await node.sleep(random.between(0, 30));
  const from = first.nextSequence;
  const second = await takenOver(stage, from);
  const order = random.chance(1, 2) ? [first, second] : [second, first];
  const [one, two] = order as [typeof first, typeof first];
  const outcomes = await Promise.allSettled([one.relocate(), two.relocate()]);
  const won = outcomes.filter(({ status }) => status === "fulfilled").length;
  if (won !== 1) throw new Violation(rivalsProperty, `${won} have won`);
  const [winner, loser] = outcomes[0]?.status === "fulfilled" ? [one, two] : [two, one];
  sometimes("the controller that came later won", winner === second);
  const refusal = codeOf(() => loser.push(stage.value(0)));
  if (refusal !== "STALE_EPOCH") throw new Violation(rivalsProperty, `the other hears ${refusal}`);
  if (stage.rings.length > 2)
    throw new Violation(rivalsProperty, `${stage.rings.length} rings are left`);
  let next = from;
  for (let count = 0; count < 5;) {
    if (attempt(winner, () => winner.push(stage.value(next)), false)) {
      next++;
      count++;
    }
    for (;;) {
      const bytes = attempt(consumer, () => consumer.pop(), undefined);
      if (bytes === undefined) break;
      got.push(stage.numberOf(bytes));
    }
    await node.sleep(20);
  }
  for (let turns = 0; got.at(-1) !== next - 1 && turns < 1_000; turns++) {
    const bytes = attempt(consumer, () => consumer.pop(), undefined);
    if (bytes === undefined) await node.sleep(20);
    else got.push(stage.numberOf(bytes));
  }
  const isRight = got.every((number, index) => index === 0 || number > (got[index - 1] as number));
  if (!isRight || got.at(-1) !== next - 1)
    throw new Violation(rivalsProperty, `${got.join(" ")} of ${next}, lost ${lost.length}`);
  // The consumer tells at its next tick that it has left the ring before, and the winner looks at its own.
  await node.sleep(3 * EDGE_STAGE_TICK_MS);
  if (stage.rings.length > 1)
    throw new Violation(rivalsProperty, `${stage.rings.length} rings are left at the end`);
  for (const edge of [first, second, consumer]) edge[Symbol.dispose]();
}

// The ring may be over, and the next one on its way.
async function takenOver(stage: EdgeStage, from: number): Promise<RelocatableQueueEdge> {
  for (;;) {
    try {
      return await stage.takeOver({ from });
    } catch (error) {
      if (!isFabricError(error)) throw error;
      await stage.node.sleep(20);
    }
  }
}

function codeOf(run: () => unknown): string {
  try {
    return `nothing but ${String(run())}`;
  } catch (error) {
    return isFabricError(error) ? error.code : String(error);
  }
}
