import { jsonCodec, type BlockLease, type Fabric } from "@selvage/fabric";
import { HandoffWriter } from "@selvage/fence";
import { CheckpointedStage, openEdge } from "@selvage/pipeline";

export type Credit = (amount: number, sequence: number) => Promise<void>;
type Both = readonly [state: BlockLease, record: BlockLease];

/** Sends amounts over an edge to a stage that credits each of them. Its blocks outlive its process. */
export async function credits(fabric: Fabric, blocks: Both, credit: Credit): Promise<void> {
  const [state, record] = blocks;
  const stage = await CheckpointedStage.restore(state, () => ({}));
  const from = stage.checkpoint.input;
  const shape = { capacity: 16, stride: 16, codec: jsonCodec<number>(), leaseMs: 300 };
  const writer = new HandoffWriter(record, "amounts");
  const edge = await openEdge(fabric, writer, { ...shape, from, acknowledge: "manual" });
  void (async () => {
    for (let amount = from; ; amount++) await edge.send(amount + 1);
  })();
  const step = async (_: object, amount: number, sequence: number): Promise<{ state: object }> => {
    await credit(amount, sequence);
    return { state: {} };
  };
  await stage.run({ input: edge, step, every: 8 });
}
