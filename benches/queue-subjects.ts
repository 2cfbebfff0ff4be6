/** Who takes part in the queue suite, by name: both threads look them up here. */
import { edge, edgeValues } from "./edge-subjects.ts";
import { messages, stream } from "./queue-messages.ts";
import { naive, ringbuf, selvage } from "./queue-rings.ts";
import { clonedValues, codecNames, selvageValues } from "./queue-values.ts";
import type { Workload } from "./queue-workload.ts";

/** Ours. */
export const OURS = "FabricQueue";
export const OURS_RECORDS = "FabricQueue, records";
export const OURS_MANY = "FabricQueue, many";

const raw: readonly Workload[] = [
  selvage(OURS, {}),
  selvage(OURS_RECORDS, { records: true }),
  selvage(OURS_MANY, { many: true }),
  ringbuf("ringbuf.js", false),
  ringbuf("ringbuf.js, 16 at a time", true),
  naive("naive shared buffer"),
  messages("postMessage", "clone"),
  messages("postMessage, 16 packed", "packed"),
  messages("postMessage, transfer", "transfer"),
  stream("node stream"),
];

const byCodec = new Map<string, readonly Workload[]>([["raw", raw]]);
for (const codec of codecNames)
  if (codec !== "raw")
    byCodec.set(codec, [
      selvageValues(`${OURS}, ${codec}`, codec),
      clonedValues(`postMessage of ${codec} values`, codec),
    ]);

/** Ours, as an edge between two stages. */
const OURS_EDGE = "RelocatableQueueEdge";
for (const [codec, ours] of [
  ["raw", [selvage(OURS, {}), edge(OURS_EDGE)]],
  [
    "msgpack",
    [selvageValues(`${OURS}, msgpack`, "msgpack"), edgeValues(`${OURS_EDGE}, msgpack`, "msgpack")],
  ],
] as const)
  byCodec.set(`edge, ${codec}`, ours);

/** Ours first, then what others use instead. */
export function workloadsFor(codec: string): readonly Workload[] {
  return byCodec.get(codec) ?? [];
}

/** The workload of a name. */
export function workloadOf(name: string): Workload {
  for (const workloads of byCodec.values())
    for (const workload of workloads) if (workload.name === name) return workload;
  throw new Error(`no workload is called ${name}`);
}
