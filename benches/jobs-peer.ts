/** FlexiQ's engine by its binding: the prebuilt library that its packages for Node wrap. It is there for glibc on x64 Linux. */
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

interface EnqueueOptions {
  readonly maxRetries: number;
  readonly timeoutMs: number;
}

/** A queue of the engine, as far as it is used here. */
export interface PeerQueue {
  enqueue(task: string, payload: Buffer, options: EnqueueOptions): string;
  enqueueMany(
    task: string,
    jobs: readonly { readonly payload: Buffer; readonly options: EnqueueOptions }[],
  ): readonly string[];
  runWorker(
    run: () => Promise<{ readonly result: Buffer }>,
    onOutcome: () => void,
    options: {
      readonly queues: readonly string[];
      readonly batchSize: number;
      readonly tasks: readonly string[];
      readonly concurrency?: number;
    },
  ): { stop(): void };
  stats(): Promise<{ readonly completed: number; readonly pending: number }>;
}

const name = "@byteveda/flexiq-linux-x64-gnu";

function load(): { readonly JsQueue: { open(options: { readonly dsn: string }): PeerQueue } } {
  return createRequire(import.meta.url)(name) as ReturnType<typeof load>;
}

/** Why it cannot be measured here; undefined where it can. */
export function peerTrouble(): string | undefined {
  try {
    load();
    return undefined;
  } catch (thrown) {
    return (thrown instanceof Error ? thrown.message : String(thrown)).split("\n")[0];
  }
}

/** Opens a queue in a new file. Its transactions are not synced one by one: `synchronous` is NORMAL. */
export function openPeer(folder: string): PeerQueue {
  mkdirSync(folder, { recursive: true });
  return load().JsQueue.open({ dsn: join(folder, "q.db") });
}

/** What each of its jobs is made with. */
export const peerPayload: Buffer = Buffer.from(JSON.stringify([1, 2]));
export const peerOptions: EnqueueOptions = { maxRetries: 3, timeoutMs: 30_000 };

/** How it is asked: one call a job or one for all, and its worker's two numbers; `concurrency` 0 leaves it to its default. */
export interface PeerSetting {
  readonly batchSize: number;
  readonly concurrency: number;
  readonly isMany: boolean;
}

/** Its three settings. */
export const peerSettings: Readonly<Record<string, PeerSetting>> = {
  flexiqDefaults: { batchSize: 1, concurrency: 0, isMany: false },
  flexiqBatches: { batchSize: 64, concurrency: 64, isMany: false },
  flexiqMany: { batchSize: 100, concurrency: 100, isMany: true },
};
