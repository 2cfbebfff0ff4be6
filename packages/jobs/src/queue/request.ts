/** A job that is wanted, from what its caller said to what the store keeps. */
import { FabricError, invalidArgument } from "@selvage/fabric";
import { From } from "./combine.ts";
import { specOf } from "./cron.ts";
import type { InputSpec, JobSpec, Payload } from "./job-record.ts";
import type { JobRequest } from "./lifecycle.ts";
import type { DeclaredTask, QueueCore } from "./queue-core.ts";
import {
  checkCount,
  checkMs,
  checkName,
  checkPriority,
  type EnqueueOptions,
} from "./queue-options.ts";
import type { JobWanted } from "./queued-task.ts";
import { validate } from "./validate.ts";

/** Bytes of notes, at most. */
const notesBytesMax = 4_096;
/** One piece of a long payload: what one transaction writes of it. */
const pieceBytes = 1024 * 1024;

/** Arguments, as they are kept. */
export interface EncodedArgs {
  readonly payload: Payload;
  readonly inputs: readonly InputSpec[];
}

/**
 * Checks and encodes arguments: at once where they are short and nobody validates them, as most are.
 * @throws FabricError `INVALID_ARGUMENT`, `ENCODE`, `CAPACITY_EXCEEDED`.
 */
function encodeNow(
  core: QueueCore,
  task: string,
  given: readonly unknown[],
): EncodedArgs | undefined {
  if (core.tasks.get(task)?.input !== undefined) return undefined;
  const { plain, inputs } = plainArgs(core, given);
  const bytes = core.checkSize(`arguments of "${task}"`, encode(core, task, plain));
  if (bytes.length > core.options.inlineBytesMax) return undefined;
  return { payload: { kind: "inline", bytes }, inputs };
}

/** As {@link encodeNow}, whatever they are. */
async function encodeArgs(
  core: QueueCore,
  task: string,
  given: readonly unknown[],
): Promise<EncodedArgs> {
  const { args, inputs } = await plainBytes(core, task, given);
  return { payload: await upload(core, args), inputs };
}

/** Arguments as bytes, whatever their length: for what keeps them itself. @throws as {@link encodeArgs}. */
export async function plainBytes(
  core: QueueCore,
  task: string,
  given: readonly unknown[],
): Promise<{ readonly args: Uint8Array; readonly inputs: readonly InputSpec[] }> {
  const { plain, inputs } = plainArgs(core, given);
  const schema = core.tasks.get(task)?.input;
  // What is made of results is not there yet.
  const args =
    schema === undefined || inputs.length > 0 ? plain : await validate(task, schema, plain);
  return { args: core.checkSize(`arguments of "${task}"`, encode(core, task, args)), inputs };
}

function plainArgs(
  core: QueueCore,
  given: readonly unknown[],
): { readonly plain: readonly unknown[]; readonly inputs: readonly InputSpec[] } {
  if (!Array.isArray(given)) throw invalidArgument("args", "an array of arguments", given);
  const inputs: InputSpec[] = [];
  const plain = given.map((arg: unknown, index) => {
    if (!(arg instanceof From)) return arg;
    inputs.push({ index, jobs: arg.jobs, combine: combineOf(core, arg) });
    return null;
  });
  return { plain, inputs };
}

function encode(core: QueueCore, task: string, args: readonly unknown[]): Uint8Array {
  try {
    return core.ports.codec.encode(args);
  } catch (cause) {
    if (cause instanceof FabricError && cause.code === "CAPACITY_EXCEEDED") throw cause;
    throw new FabricError(
      "ENCODE",
      `arguments of "${task}": ${cause instanceof Error ? cause.message : String(cause)}`,
      { task },
      { cause },
    );
  }
}

// A function that has no name in the queue is known by itself, in this process.
function combineOf(core: QueueCore, { combine, isList }: From<unknown>): string {
  if (combine === undefined) return isList ? "list" : "value";
  if (typeof combine === "string") return combine;
  return core.nameOf(combine);
}

/** What the store is asked for, for each of these jobs. @throws as {@link encodeArgs} and {@link requestOf}. */
export async function requestsOf(
  core: QueueCore,
  task: string,
  wanted: readonly JobWanted[],
): Promise<readonly ((nowMs: number) => JobRequest)[]> {
  const encoded: EncodedArgs[] = [];
  for (const { args } of wanted) {
    const now = encodeNow(core, task, args);
    if (now === undefined) break;
    encoded.push(now);
  }
  const rest = wanted.slice(encoded.length).map(({ args }) => encodeArgs(core, task, args));
  if (rest.length > 0) for (const one of await Promise.all(rest)) encoded.push(one);
  return wanted.map(({ options }, at) =>
    requestOf(core, task, encoded[at] as EncodedArgs, options),
  );
}

/** Puts a long payload into leased blocks, piece by piece; a short one stays as it is. @throws FabricError of the store. */
export async function upload(core: QueueCore, bytes: Uint8Array): Promise<Payload> {
  const { inlineBytesMax, leaseMs } = core.options;
  if (bytes.length <= inlineBytesMax) return { kind: "inline", bytes };
  const { committer } = core;
  const blocks = await committer.write(({ tx, nowMs }) => tx.openBlocks(nowMs + leaseMs));
  for (let from = 0; from < bytes.length; from += pieceBytes) {
    const piece = bytes.subarray(from, from + pieceBytes);
    await committer.write(({ tx, nowMs }) => tx.addBlock(blocks, piece, nowMs + leaseMs));
  }
  return { kind: "blocks", blocks };
}

/** What the store is asked for. @throws FabricError `INVALID_ARGUMENT`. */
export function requestOf(
  core: QueueCore,
  name: string,
  { payload, inputs }: EncodedArgs,
  options: EnqueueOptions,
  fan?: JobSpec["fan"],
): (nowMs: number) => JobRequest {
  const task: DeclaredTask | undefined = core.tasks.get(name);
  const { defaultRetries, defaultTimeoutMs } = core.options;
  const { delayMs = 0, expiresMs, uniqueKey, metadata } = options;
  checkMs("delayMs", delayMs, 0, Number.MAX_SAFE_INTEGER);
  if (expiresMs !== undefined) checkMs("expiresMs", expiresMs, 0, Number.MAX_SAFE_INTEGER);
  if (uniqueKey !== undefined) checkName("uniqueKey", uniqueKey);
  if (metadata !== undefined && typeof metadata !== "string")
    throw invalidArgument("metadata", "a text", metadata);
  const timeoutMs = checkMs(
    "timeoutMs",
    options.timeoutMs ?? task?.timeoutMs ?? defaultTimeoutMs,
    0,
  );
  const retries = checkCount("retries", options.retries ?? task?.retries ?? defaultRetries, 0);
  const request = {
    task: name,
    queue: checkName("queue", options.queue ?? task?.queue ?? "default"),
    args: payload,
    spec: withInputs(specOf(task?.backoff, timeoutMs, retries), inputs, fan),
    priority: checkPriority(options.priority ?? task?.priority ?? 0),
    uniqueKey: uniqueKey ?? null,
    dependsOn: idsOf(options.dependsOn),
    metadata: metadata ?? null,
    notes: notesOf(options.notes),
  };
  // By the clock of the transaction: what one call makes is of one time.
  return (nowMs) => ({
    ...request,
    dueMs: nowMs + delayMs,
    expiresMs: expiresMs === undefined ? null : nowMs + expiresMs,
  });
}

function withInputs(
  spec: JobSpec,
  inputs: readonly InputSpec[],
  fan: JobSpec["fan"] | undefined,
): JobSpec {
  if (inputs.length === 0 && fan === undefined) return spec;
  return { ...spec, ...(inputs.length > 0 && { inputs }), ...(fan && { fan }) };
}

function idsOf(given: EnqueueOptions["dependsOn"]): readonly string[] {
  if (given === undefined) return [];
  const list = Array.isArray(given) ? (given as readonly unknown[]) : [given];
  return list.map((one) => {
    const id: unknown = typeof one === "string" ? one : (one as { id?: unknown } | null)?.id;
    if (typeof id === "string") return id;
    throw invalidArgument("dependsOn", "a job or its id, or an array of them", one);
  });
}

function notesOf(notes: EnqueueOptions["notes"]): string | null {
  if (notes === undefined) return null;
  if (typeof notes !== "object" || notes === null || Array.isArray(notes))
    throw invalidArgument("notes", "an object", notes);
  const json = stringify(notes);
  if (json === undefined || json.length > notesBytesMax)
    throw invalidArgument(
      "notes",
      `at most ${notesBytesMax} bytes of JSON`,
      json?.length ?? "no JSON",
    );
  return json;
}

function stringify(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch {
    return undefined;
  }
}
