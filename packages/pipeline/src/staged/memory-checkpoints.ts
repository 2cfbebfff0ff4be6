/** Checkpoints in memory: for tests, and for runs that resume in the process that they failed in. */
import type { CheckpointReading, CheckpointStore } from "./checkpoint-store.ts";

/** Keeps checkpoints in this process, and no longer than it lives. */
export class MemoryCheckpointStore implements CheckpointStore {
  readonly #records = new Map<string, CheckpointReading>();
  #lastRevision = 0;

  async read(key: string): Promise<CheckpointReading | undefined> {
    const found = this.#records.get(key);
    if (found === undefined) return undefined;
    const { revision, bytes, previous } = found;
    if (previous === undefined) return { revision, bytes: bytes.slice() };
    return {
      revision,
      bytes: bytes.slice(),
      previous: { revision: previous.revision, bytes: previous.bytes.slice() },
    };
  }

  async write(key: string, bytes: Uint8Array, expected: number): Promise<number | undefined> {
    const found = this.#records.get(key);
    if ((found?.revision ?? 0) !== expected) return undefined;
    const revision = ++this.#lastRevision;
    const record = { revision, bytes: bytes.slice() };
    const previous = found && { revision: found.revision, bytes: found.bytes };
    this.#records.set(key, previous === undefined ? record : { ...record, previous });
    return revision;
  }

  async remove(key: string, expected: number): Promise<boolean> {
    return this.#records.get(key)?.revision === expected && this.#records.delete(key);
  }
}
