/** The codecs of the formats that are encoded: JSON is here, MessagePack comes from the host. */
import {
  FabricError,
  jsonCodec,
  plainText,
  type Codec,
  type DecodeBudget,
  type Text,
} from "@selvage/fabric";
import { DATA_FORMATS, type DataFormat, type DataRef } from "./data-format.ts";

/** What a host has for encoded data. All of it may be left out. */
export interface CodecPorts {
  /** Faster UTF-8 than the pure one. */
  readonly text?: Text;
  /** Makes a MessagePack codec within a budget. Without it, `"msgpack"` is `UNSUPPORTED`. */
  readonly msgpack?: (budget?: DecodeBudget) => Codec<unknown>;
}

/** The codec of an encoded format. @throws FabricError `UNSUPPORTED`. */
export type CodecOf = (format: DataFormat) => Codec<unknown>;

/** The codecs of one run or one request, made when they are first used. */
export function codecsOf(ports: CodecPorts = {}, budget?: DecodeBudget): CodecOf {
  const made = new Map<DataFormat, Codec<unknown>>();
  return (format) => {
    const known = made.get(format);
    if (known !== undefined) return known;
    const codec = make(format, ports, budget);
    made.set(format, codec);
    return codec;
  };
}

/** Refuses data that this host has no codec for. @throws FabricError `UNSUPPORTED`. */
export function checkFormats(
  tasks: readonly { readonly outputs: readonly DataRef[] }[],
  ports: CodecPorts = {},
): void {
  if (ports.msgpack !== undefined) return;
  for (const { outputs } of tasks)
    for (const { name, format } of outputs)
      if (format === "msgpack") throw unsupported(format, name);
}

function make(
  format: DataFormat,
  { text, msgpack }: CodecPorts,
  budget: DecodeBudget | undefined,
): Codec<unknown> {
  if (format === "json") return jsonCodec(text ?? plainText, budget);
  if (format === "msgpack" && msgpack !== undefined) return msgpack(budget);
  throw unsupported(format);
}

function unsupported(format: DataFormat, output?: string): FabricError {
  const what = output === undefined ? "" : ` of "${output}"`;
  return new FabricError("UNSUPPORTED", `This host has no codec for the format${what}: ${format}`, {
    format,
    formats: DATA_FORMATS,
  });
}
