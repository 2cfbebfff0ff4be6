/** Dead letters in memory: for tests, and for programs that need not find them after their end. */
import { FabricError, invalidArgument, type FabricErrorWire } from "@selvage/fabric";
import type {
  DeadLetter,
  DeadLetterDraft,
  DeadLetterQuery,
  DeadLetterStore,
  ReplayTurn,
} from "./dead-letter-store.ts";

const bytesMaxDefault = 64 * 1_048_576;

/** Keeps letters in this process, and no longer than it lives. */
export class MemoryDeadLetterStore implements DeadLetterStore {
  // In the order of their ids, because they are never put back.
  readonly #letters = new Map<number, DeadLetter>();
  readonly #bytesMax: number;
  #bytes = 0;
  #lastId = 0;
  #isTaken = false;

  /** Keeps at most `bytesMax` bytes of payload, 64 MiB unless told otherwise. @throws FabricError `INVALID_ARGUMENT`. */
  constructor({ bytesMax = bytesMaxDefault }: { readonly bytesMax?: number } = {}) {
    if (!(Number.isSafeInteger(bytesMax) && bytesMax >= 0))
      throw invalidArgument("bytesMax", "a whole number from 0 up", bytesMax);
    this.#bytesMax = bytesMax;
  }

  async add(letter: DeadLetterDraft): Promise<number> {
    const bytes = this.#bytes + letter.bytes.length;
    if (bytes > this.#bytesMax)
      throw new FabricError("CAPACITY_EXCEEDED", "Cannot keep the letter: the store is full", {
        bytes,
        bytesMax: this.#bytesMax,
      });
    this.#bytes = bytes;
    const id = ++this.#lastId;
    this.#letters.set(id, { ...letter, bytes: letter.bytes.slice(), id, replays: 0 });
    return id;
  }

  async list({ subject, after, limit }: DeadLetterQuery): Promise<readonly DeadLetter[]> {
    const found: DeadLetter[] = [];
    for (const letter of this.#letters.values()) {
      if (found.length >= limit) break;
      if (letter.id <= after || (subject !== undefined && letter.subject !== subject)) continue;
      found.push({ ...letter, bytes: letter.bytes.slice() });
    }
    return found;
  }

  async newestId(): Promise<number> {
    let newest = 0;
    for (const id of this.#letters.keys()) newest = id;
    return newest;
  }

  async purge(sentByMs: number): Promise<number> {
    let count = 0;
    for (const { id, sentAtMs } of this.#letters.values())
      if (sentAtMs <= sentByMs && this.#remove(id)) count++;
    return count;
  }

  async takeTurn(): Promise<ReplayTurn> {
    if (this.#isTaken)
      throw new FabricError("CONFLICT", "Cannot replay: another replay of this store is under way");
    this.#isTaken = true;
    let isMine = true;
    return {
      begin: async (id) => this.#change(id, ({ replays }) => ({ replays: replays + 1 }))?.replays,
      settle: async (id) => this.#remove(id),
      fail: async (id, replayError: FabricErrorWire) =>
        void this.#change(id, () => ({ replayError })),
      end: async () => {
        if (isMine) this.#isTaken = false;
        isMine = false;
      },
    };
  }

  #change(id: number, change: (letter: DeadLetter) => Partial<DeadLetter>): DeadLetter | undefined {
    const letter = this.#letters.get(id);
    if (letter === undefined) return undefined;
    const changed: DeadLetter = { ...letter, ...change(letter) };
    this.#letters.set(id, changed);
    return changed;
  }

  #remove(id: number): boolean {
    this.#bytes -= this.#letters.get(id)?.bytes.length ?? 0;
    return this.#letters.delete(id);
  }
}
