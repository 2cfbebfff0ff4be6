/** `Pipeline` with this host's ports filled in. */
import {
  Pipeline as PurePipeline,
  type PipelinePorts,
  type PipelineSource,
  type PipelineStageOptions,
} from "@selvage/pipeline";
import { Fabric } from "./fabric.ts";
import { systemRandom, systemTimer } from "./host-ports.ts";
import { msgpackCodec } from "./msgpack-codec.ts";
import { SystemClock } from "./system-clock.ts";

const hostPorts: PipelinePorts = {
  clock: new SystemClock(),
  timer: systemTimer,
  random: systemRandom,
  nextTurn: () => new Promise((resolve) => setImmediate(resolve)),
  abortSource: () => new AbortController(),
  openFabric: () => Fabric.open(),
  codec: msgpackCodec(),
};

/** A stream of items through stages, on this machine. See `@selvage/pipeline`, whose `Pipeline` this is. */
export class Pipeline<T> extends PurePipeline<T> {
  /** Begins with a source; ports given here take the host's place. */
  static override fromSource<T>(
    source: PipelineSource<T>,
    options: PipelineStageOptions = {},
    ports: Partial<PipelinePorts> = {},
  ): PurePipeline<T> {
    return super.fromSource(source, options, { ...hostPorts, ...ports });
  }

  /** Begins with a source of arrays of items; ports given here take the host's place. */
  static override fromChunks<T>(
    source: PipelineSource<readonly T[]>,
    options: PipelineStageOptions = {},
    ports: Partial<PipelinePorts> = {},
  ): PurePipeline<T> {
    return super.fromChunks(source, options, { ...hostPorts, ...ports });
  }
}
