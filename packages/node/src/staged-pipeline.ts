/** `StagedPipeline` with this host's ports filled in. */
import {
  StagedPipeline as PureStagedPipeline,
  type StagedOptions,
  type StagedPorts,
} from "@selvage/pipeline";
import { systemRandom, systemTimer } from "./host-ports.ts";
import { SystemClock } from "./system-clock.ts";

const hostPorts: StagedPorts = {
  clock: new SystemClock(),
  timer: systemTimer,
  random: systemRandom,
  abortSource: () => new AbortController(),
};

/** Stages on this machine. See `@selvage/pipeline`, whose `StagedPipeline` this is. */
export class StagedPipeline<In = unknown, Out = In> extends PureStagedPipeline<In, Out> {
  /** Ports given here take the host's place. */
  constructor(options: StagedOptions = {}, ports: Partial<StagedPorts> = {}) {
    super(options, { ...hostPorts, ...ports });
  }
}
