/**
 * Question: what does it cost to hand 64 MiB of typed columns to a worker and back?
 *
 * Workload: four columns (int32 id, float64 price, float64 weight, int32 kind), 64 MiB together. The worker either looks at a few
 * values of each column or sums one of them; then the columns are the sender's again. A ticket crosses to a worker
 * that attached once before, as engines do; the bytes stay in their lease.
 * Baseline: postMessage of the columns by structured clone, both ways, and by transfer of their ArrayBuffers, both
 * ways. Transfer copies nothing either, but its buffers are one thread's at a time, and nobody gives them back.
 * Not measured: making the columns; several workers reading at a time, which transfer cannot do at all.
 */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { columnsBytes, layColumns, type Columns } from "@selvage/fabric";
import { Fabric } from "@selvage/node";
import type { Parcel, Receipt } from "./handoff-worker.ts";
import { takeTurns, timedSingly, type Effort, type Result, type Subject } from "./harness.ts";
import { atLeast, type Suite } from "./suite.ts";

const MIB = 1_048_576;
const ROW_BYTES = 24;
const columns = { id: "int32", price: "float64", weight: "float64", kind: "int32" } as const;

function fill(target: Columns): void {
  for (const [index, column] of Object.values(target).entries())
    for (let row = 0; row < column.length; row++) column[row] = (row % 1_000) + index;
}

function plainColumns(rows: number): Columns {
  const plain = {
    id: new Int32Array(rows),
    price: new Float64Array(rows),
    weight: new Float64Array(rows),
    kind: new Int32Array(rows),
  };
  fill(plain);
  return plain;
}

async function hand(
  worker: Worker,
  parcel: Parcel,
  transfer: readonly ArrayBuffer[],
): Promise<Receipt> {
  const answer = once(worker, "message") as Promise<[Receipt]>;
  worker.postMessage(parcel, [...transfer]);
  const [receipt] = await answer;
  return receipt;
}

async function measure(sum: boolean, worker: Worker, effort: Effort): Promise<Result> {
  const { smoke, rounds, progress } = effort;
  const rows = Math.floor(((smoke ? 1 : 64) * MIB) / ROW_BYTES);
  const shape = { rows, columns };
  const bytes = columnsBytes(shape);
  using fabric = Fabric.open({ memoryBytes: bytes + MIB, blocks: 0 });
  const lease = fabric.mem().minBytes(bytes).leaseSecs(3_600).acquire();
  {
    using loan = lease.lend();
    fill(layColumns(loan.view, shape));
  }
  const cloned = plainColumns(rows);
  let moved = plainColumns(rows);
  const many = smoke ? 1 : 3;
  const subjects: readonly Subject[] = [
    timedSingly(
      "ticket",
      many,
      async () => {
        const receipt = await hand(worker, { how: "ticket", sum, ticket: lease.ticket() }, []);
        return receipt.checksum;
      },
      true,
    ),
    timedSingly(
      "clone",
      many,
      async () => {
        const receipt = await hand(worker, { how: "clone", sum, columns: cloned }, []);
        return receipt.checksum;
      },
      true,
    ),
    timedSingly(
      "transfer",
      many,
      async () => {
        const buffers = Object.values(moved).map(({ buffer }) => buffer as ArrayBuffer);
        const receipt = await hand(worker, { how: "transfer", sum, columns: moved }, buffers);
        moved = receipt.columns as Columns;
        return receipt.checksum;
      },
      true,
    ),
  ];
  const samples = await takeTurns(subjects, {
    rounds: smoke ? 2 : (rounds ?? 15),
    warmups: smoke ? 0 : 3,
    progress,
  });
  samples.expectEqual("op", ["ticket", "clone", "transfer"]);
  const ratio = samples.median("clone", "op") / samples.median("ticket", "op");
  return samples.result({
    suite: "handoff",
    name: `${smoke ? 1 : 64} MiB of columns, ${sum ? "one summed" : "a few values read"}`,
    subject: "ticket",
    step: "op",
    peers: { "structured clone": ["clone", "op"], "ArrayBuffer transfer": ["transfer", "op"] },
    targets: [atLeast("structured clone", ratio, 1)],
  });
}

export const handoffSuite: Suite = {
  name: "handoff",
  question: "What does it cost to hand 64 MiB of columns to a worker and back?",
  async run(effort) {
    const worker = new Worker(new URL("./handoff-worker.ts", import.meta.url));
    try {
      return [await measure(false, worker, effort), await measure(true, worker, effort)];
    } finally {
      await worker.terminate();
    }
  },
};
