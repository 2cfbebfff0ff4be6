/** How arguments and results of jobs become bytes, here and on worker threads. */
import type { Codec } from "@selvage/fabric";
import { msgpackCodec } from "./msgpack-codec.ts";

/** MessagePack: what would not come back as it was is refused. Sizes are the queue's to bound. */
export const jobCodec: Codec<unknown> = msgpackCodec({ bytes: 2 ** 31, elements: 2 ** 26 });
