/** What is live, gathered into batches for the half of the log that is begun. */
import { PAYLOAD_BYTES } from "./kv-block.ts";
import type { KvEntry } from "./kv-index.ts";
import { recordBytes, writeRecord, type KvRecord } from "./kv-records.ts";

/** The longest batch, in bytes of payload, unless a single record is longer. */
export const BATCH_BYTES_MAX = 65_536;

/** Gathers an image's records into batches. */
export class Image {
  readonly #emit: (payload: Uint8Array) => Promise<number>;
  readonly #moved: [entry: KvEntry, first: number, at: number][];
  #records: [record: KvRecord, entry: KvEntry | undefined][] = [];
  #bytes = 0;

  constructor(
    emit: (payload: Uint8Array) => Promise<number>,
    moved: [entry: KvEntry, first: number, at: number][],
  ) {
    this.#emit = emit;
    this.#moved = moved;
  }

  async add(record: KvRecord, entry?: KvEntry): Promise<void> {
    const bytes = recordBytes(record.key.length, record.value.length);
    if (this.#bytes > 0 && this.#bytes + bytes > BATCH_BYTES_MAX) await this.end();
    this.#records.push([record, entry]);
    this.#bytes += bytes;
  }

  async end(): Promise<void> {
    const payload = new Uint8Array(this.#bytes);
    const placed: [entry: KvEntry, at: number][] = [];
    let at = 0;
    for (const [record, entry] of this.#records) {
      if (entry !== undefined) placed.push([entry, at]);
      at = writeRecord(payload, at, record);
    }
    this.#records = [];
    this.#bytes = 0;
    const first = await this.#emit(payload);
    for (const [entry, where] of placed) this.#moved.push([entry, first, where]);
  }
}

/** The most blocks that an image of so many bytes takes: two batches that follow each other are together full. */
export function imageBlocks(liveBytes: number): number {
  return Math.ceil(liveBytes / PAYLOAD_BYTES) + 2 * Math.ceil(liveBytes / BATCH_BYTES_MAX) + 2;
}
