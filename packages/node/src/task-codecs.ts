/** What tasks' data is encoded with on this host: the same on the calling thread and on worker threads. */
import type { CodecPorts } from "@selvage/batch";
import { systemText } from "./host-ports.ts";
import { msgpackCodec } from "./msgpack-codec.ts";

export const taskCodecs: CodecPorts = {
  text: systemText,
  msgpack: (budget) => msgpackCodec(budget),
};
