/** One edge, both of whose ends live, while its rings are lost: every item once, in order, as of one queue. */
import { sometimes, Violation, type History } from "@selvage/sim";
import { attempt, tried, type EdgeStage } from "./edge-stage.ts";

const itemsMax = 60;

/** Names of what is held to here. */
export const steadyRow = "E3: a lease died, both ends alive: every item once, in order";

/** Pushes and pops while `stage.disturb` goes on; ends when all was popped. */
export async function steadyEpisode(
  stage: EdgeStage,
  history: History,
  queue: string,
): Promise<void> {
  const { node, random } = stage;
  const producer = await stage.openProducer();
  const wrong: string[] = [];
  const consumer = await stage.openConsumer({
    acknowledge: random.pick(["auto", "manual"]),
    onEvent: (event) => {
      if (event.type === "lost") wrong.push(`told as lost: ${JSON.stringify(event.items)}`);
    },
  });
  const seen = { pushed: 0, popped: 0, isClosed: false };
  const total = random.between(5, itemsMax);
  const acknowledge = (): void => attempt(consumer, () => consumer.acknowledge(), undefined);
  const push = (): boolean => {
    const token = history.invoke("producer", { type: "offer", value: seen.pushed, queue });
    const isIn = attempt(producer, () => producer.push(stage.value(seen.pushed)), false);
    if (isIn) history.ok(token, true);
    else history.fail(token);
    if (isIn) seen.pushed++;
    return isIn;
  };
  const pop = (): boolean => {
    const token = history.invoke("consumer", { type: "poll", queue });
    const bytes = attempt(consumer, () => consumer.pop(), undefined);
    if (bytes === undefined) {
      history.fail(token);
      return false;
    }
    const number = stage.numberOf(bytes);
    history.ok(token, number);
    if (number !== seen.popped || consumer.sequence !== number)
      wrong.push(`${number} after ${seen.popped - 1}`);
    seen.popped++;
    if (random.chance(1, 3)) acknowledge();
    return true;
  };
  while (seen.pushed < total) {
    for (let count = random.below(8); count > 0 && seen.pushed < total && push(); count--);
    for (let count = random.below(8); count > 0 && pop(); count--);
    if (random.chance(1, 4)) stage.disturb(producer, consumer);
    await node.sleep(random.spread(1, 150));
    if (wrong.length > 0) break;
    // A full window waits for this.
    if (seen.popped > 0 && random.chance(1, 2)) acknowledge();
  }
  stage.clearSkies();
  const close = async (): Promise<void> => {
    while (!(await tried(producer.close()))) {
      await node.sleep(20);
      await tried(producer.relocate());
    }
    seen.isClosed = true;
  };
  void close();
  while (wrong.length === 0 && !(seen.isClosed && consumer.isOver)) {
    while (pop());
    if (seen.popped > 0) acknowledge();
    await node.sleep(10);
  }
  if (seen.popped !== total) wrong.push(`${seen.popped} of ${total} arrived`);
  if (wrong.length > 0) throw new Violation(steadyRow, wrong.join("; "));
  sometimes("a stream was read to its end");
  consumer[Symbol.dispose]();
}
