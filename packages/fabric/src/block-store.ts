/**
 * A disk that fails as the fabric says: every failure is a typed error, short reads and writes are carried on, and
 * nothing is acknowledged after a sync that failed.
 *
 * Invariant J4: the first failed sync fails the store for good. Linux marks pages clean after a failed fsync, so that a
 * second one would lie. Only reopening reads again what the disk holds.
 * Invariant J5: `sync` covers what had been written before it was called: a sync that has begun is waited for, and the
 * next one is shared by all who asked meanwhile (group commit).
 * Invariant J7: nothing is written before one sync has succeeded. What a process wrote that was killed is read by the next
 * one, and is not durable yet; what is written by it would else count on bytes that power can still take.
 */
import { FabricError } from "./errors.ts";
import { BLOCK_BYTES, type BlockDevice, type Disk } from "./ports.ts";

/** A disk, guarded. Offsets and lengths are in bytes. */
export class BlockStore {
  /** What messages call it. */
  readonly name: string;
  readonly #disk: Disk;
  #failure: FabricError | undefined;
  #inFlight = 0;
  #isClosed = false;
  #idle: PromiseWithResolvers<void> | undefined;
  #syncing: Promise<void> | undefined;
  #nextSync: Promise<void> | undefined;
  // The first sync (J7); undefined before it, and `isSettled` once it has succeeded.
  #settling: Promise<void> | undefined;
  #isSettled = false;

  constructor(disk: Disk, name: string) {
    this.#disk = disk;
    this.name = name;
  }

  /** What failed the store for good. */
  get failure(): FabricError | undefined {
    return this.#failure;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Fills `target` as far as the file reaches, and says how far that was. For opening. */
  readNow(offset: number, target: Uint8Array): number {
    try {
      let done = 0;
      while (done < target.length) {
        const length = this.#disk.readNow(offset + done, target.subarray(done));
        if (length === 0) break;
        done += length;
      }
      return done;
    } catch (cause) {
      throw this.#unavailable("read", cause);
    }
  }

  /** Fills `target`; beyond the file's end with zeros. */
  async read(offset: number, target: Uint8Array): Promise<void> {
    await this.#during("read", async () => {
      let done = 0;
      while (done < target.length) {
        const length = await this.#disk.read(offset + done, target.subarray(done));
        if (length === 0) break;
        done += length;
      }
      target.fill(0, done);
    });
  }

  /** Writes all of `source`. If it fails, any part of it may have been written. */
  async write(offset: number, source: Uint8Array): Promise<void> {
    await this.#during("write", async () => {
      if (!this.#isSettled) await this.#settle();
      let done = 0;
      while (done < source.length) {
        const length = await this.#disk.write(offset + done, source.subarray(done));
        if (!(length > 0)) throw new Error("the disk took no more bytes");
        done += length;
      }
    });
  }

  /** Resolves once what was written before survives a crash (J5). */
  sync(): Promise<void> {
    this.#nextSync ??= this.#syncNext();
    return this.#nextSync;
  }

  /** Sets the file's length. */
  async truncate(length: number): Promise<void> {
    await this.#during("truncate", async () => {
      if (!this.#isSettled) await this.#settle();
      await this.#disk.truncate(length);
    });
  }

  /** Takes no more operations, and lets the disk go once the last one is done. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#inFlight === 0) this.#disk.close();
  }

  /** Resolves when nothing is in flight. */
  async idle(): Promise<void> {
    if (this.#inFlight === 0) return;
    this.#idle ??= Promise.withResolvers<void>();
    await this.#idle.promise;
  }

  async #syncNext(): Promise<void> {
    await this.#syncing;
    // From here on a caller's writes may come too late for this sync.
    this.#nextSync = undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#syncing = promise;
    try {
      await this.#during("sync", () => this.#syncDisk());
    } finally {
      resolve();
    }
  }

  async #syncDisk(): Promise<void> {
    try {
      await this.#disk.sync();
      this.#isSettled = true;
    } catch (cause) {
      this.#failure ??= this.#unavailable("sync", cause);
      throw cause;
    }
  }

  async #settle(): Promise<void> {
    // If it fails, so does the store, for good (J4).
    this.#settling ??= this.#syncDisk();
    await this.#settling;
  }

  async #during(what: string, operation: () => Promise<void>): Promise<void> {
    if (this.#failure !== undefined) throw this.#stillFailed(what, this.#failure);
    if (this.#isClosed)
      throw new FabricError("DISCONNECTED", `Cannot ${what} blocks: ${this.name} is closed`, {
        store: this.name,
      });
    this.#inFlight++;
    try {
      await operation();
    } catch (cause) {
      throw this.#unavailable(what, cause);
    } finally {
      this.#inFlight--;
      if (this.#inFlight === 0) this.#rest();
    }
  }

  #rest(): void {
    this.#idle?.resolve();
    this.#idle = undefined;
    if (this.#isClosed) this.#disk.close();
  }

  #unavailable(what: string, cause: unknown): FabricError {
    const errno = (cause as { code?: unknown } | null)?.code;
    const why = cause instanceof Error ? cause.message : String(cause);
    const details = { store: this.name, operation: what };
    return new FabricError(
      "STORE_UNAVAILABLE",
      `Cannot ${what} blocks of ${this.name}: ${why}`,
      typeof errno === "string" ? { ...details, errno } : details,
      { cause },
    );
  }

  #stillFailed(what: string, cause: FabricError): FabricError {
    return new FabricError(
      "STORE_UNAVAILABLE",
      `Cannot ${what} blocks of ${this.name}: a sync failed, so nothing is sure until it is opened anew`,
      { store: this.name, operation: what, failed: true },
      { cause },
    );
  }
}

/** How many bytes are read at a time to find what is not zero. */
const chunkBytes = 65_536;

/** Makes whole blocks zero: `length` bytes of them. Writes only where there is something else: so a sparse file stays sparse. */
async function zeroBytes(store: BlockStore, offset: number, length: number): Promise<void> {
  const chunk = new Uint8Array(Math.min(chunkBytes, length));
  for (let at = 0; at < length; at += chunk.length) {
    const part = chunk.subarray(0, Math.min(chunk.length, length - at));
    await store.read(offset + at, part);
    const first = part.findIndex((byte) => byte !== 0);
    if (first < 0) continue;
    const last = part.findLastIndex((byte) => byte !== 0);
    const from = Math.floor(first / BLOCK_BYTES) * BLOCK_BYTES;
    const to = Math.ceil((last + 1) / BLOCK_BYTES) * BLOCK_BYTES;
    await store.write(offset + at + from, part.fill(0).subarray(from, to));
  }
}

/** Blocks on a part of a disk, from byte `start` on. What was never written reads as zero. */
export class DiskBlocks implements BlockDevice {
  readonly numBlocks: number;
  readonly #store: BlockStore;
  readonly #start: number;

  constructor(store: BlockStore, numBlocks: number, start: number = 0) {
    this.#store = store;
    this.numBlocks = numBlocks;
    this.#start = start;
  }

  async read(index: number, target: Uint8Array): Promise<void> {
    await this.#store.read(this.#at(index, target.length), target);
  }

  async write(index: number, source: Uint8Array): Promise<void> {
    await this.#store.write(this.#at(index, source.length), source);
  }

  async zero(index: number, count: number): Promise<void> {
    const length = count * BLOCK_BYTES;
    await zeroBytes(this.#store, this.#at(index, length), length);
  }

  async flush(): Promise<void> {
    await this.#store.sync();
  }

  close(): void {
    this.#store.close();
  }

  #at(index: number, length: number): number {
    const isWhole = Number.isInteger(index) && length % BLOCK_BYTES === 0;
    if (!isWhole || index < 0 || index + length / BLOCK_BYTES > this.numBlocks)
      throw new FabricError("INVALID_ARGUMENT", "Cannot reach blocks beyond the device", {
        index,
        bytes: length,
        numBlocks: this.numBlocks,
      });
    return this.#start + index * BLOCK_BYTES;
  }
}

/** A block device over a whole disk: blocks that have no lease table. */
export function diskBlockDevice(disk: Disk, numBlocks: number, name: string): BlockDevice {
  return new DiskBlocks(new BlockStore(disk, name), numBlocks);
}
