/**
 * Files that hold blocks. What is durable when is the fabric's affair (`@selvage/fabric`, `durable-pool.ts`); this is the
 * file itself: opening, the lock, positioned reads and writes off the event loop, and syncing.
 *
 * One writer a path: it holds a SQLite transaction, `BEGIN EXCLUSIVE`, on a file beside, `PATH.lock`. SQLite refuses a
 * second one, in this process too, and the kernel lets go of it when the process dies, however it does: no stale locks.
 * The file beside stays, empty.
 *
 * The lock can be lost: POSIX drops it when this process closes any descriptor of `PATH.lock`, as after reading that file.
 * So a writer also puts an id of its own into `PATH.writer`, and looks before each write, after each read and after each
 * sync whether it is still there. Once it is another one's, a new writer has come, and this one stops: what it
 * acknowledged counted before the other one came, and at most a write that was under way by then comes after.
 *
 * A sync that failed leaves the kernel's pages clean: what is read is not what is on the disk, and no later sync writes it.
 * So a failed sync is noted beside, in `PATH.suspect`, and the next writer writes the whole file anew before it reads from
 * it. (The note comes after the failure: a process that is killed between the two leaves none.)
 *
 * What a process wrote that was killed is read by the next one, though it was never synced: so a writer syncs the file
 * before it reads from it. Only then is what it finds what a power cut would leave.
 *
 * A new file is made as `ensureFile` of `@selvage/fabric` makes it: after any crash it is there with all that it must hold,
 * or not at all (J5).
 */
import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  fdatasync,
  fsync,
  fstat,
  fstatSync,
  fsyncSync,
  ftruncate,
  openSync,
  read,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  unlinkSync,
  write,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import {
  BLOCK_BYTES,
  diskBlockDevice,
  ensureFile,
  FabricError,
  invalidArgument,
  isFabricError,
  type BlockDevice,
  type Disk,
  type DiskRequest,
  type FileNames,
} from "@selvage/fabric";

const readAsync = promisify(read);
const writeAsync = promisify(write);
const fsyncAsync = promisify(fsync);
const fdatasyncAsync = promisify(fdatasync);
const fstatAsync = promisify(fstat);
const ftruncateAsync = promisify(ftruncate);

/** SQLite's result code for a lock that another one has. */
const sqliteBusy = 5;

/** Only its owner reads or writes it. */
const ownerOnly = 0o600;

/** Opens a block file, or makes it. @throws FabricError `CONFLICT`, `NOT_FOUND`, `STORE_UNAVAILABLE`. */
export function openDisk({ path, access, image }: DiskRequest): Disk {
  const file = realPath(path);
  if (access === "read")
    return new FileDisk(
      opening(path, () => openSync(file, "r")),
      anyone,
    );
  const unlock = lock(file);
  try {
    return opening(path, () => {
      ensureFile(hostNames, file, image);
      const claim = new WriterClaim(file, unlock);
      try {
        return new FileDisk(openDurable(file), claim);
      } catch (thrown) {
        claim.release();
        throw thrown;
      }
    });
  } catch (thrown) {
    unlock();
    throw thrown;
  }
}

/**
 * Blocks in a file, without leases: the caller is the only one to use it, and `CONFLICT` is what a second one gets. The
 * file is made if it is not there, readable by its owner only; it is as long as what was written, and sparse.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mkdtempSync, rmSync } from "node:fs";
 * import { tmpdir } from "node:os";
 * import { join } from "node:path";
 * import { fileBlockDevice } from "@selvage/node";
 *
 * const folder = mkdtempSync(join(tmpdir(), "selvage-"));
 * const device = fileBlockDevice(join(folder, "blocks"), 64);
 * await device.write(3, new Uint8Array(512).fill(7));
 * await device.flush();
 * const block = new Uint8Array(512);
 * await device.read(3, block);
 * assert.equal(block[0], 7);
 * device.close();
 * rmSync(folder, { recursive: true });
 * ```
 * @throws FabricError `CONFLICT`, `NOT_FOUND`, `INVALID_ARGUMENT`, `STORE_UNAVAILABLE`.
 */
export function fileBlockDevice(path: string, numBlocks: number): BlockDevice {
  checkPath("path", path);
  checkBlocks(numBlocks);
  const disk = openDisk({ path, access: "write", image: nothing });
  return diskBlockDevice(disk, numBlocks, path);
}

/**
 * Blocks for what does not fit in memory, in a file in `folder` that is nobody else's: made readable by its owner only, and
 * unlinked at once. So the kernel frees it when it is closed or its process ends, whatever happens.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { tmpdir } from "node:os";
 * import { scratchBlockDevice } from "@selvage/node";
 *
 * const scratch = scratchBlockDevice(tmpdir(), 1024);
 * await scratch.write(1023, new Uint8Array(512).fill(1));
 * const block = new Uint8Array(512);
 * await scratch.read(1023, block);
 * assert.equal(block[0], 1);
 * scratch.close();
 * ```
 * @throws FabricError `NOT_FOUND` (no such folder), `INVALID_ARGUMENT`, `STORE_UNAVAILABLE`.
 */
export function scratchBlockDevice(folder: string, numBlocks: number): BlockDevice {
  checkPath("folder", folder);
  checkBlocks(numBlocks);
  const path = join(folder, `selvage-scratch-${crypto.randomUUID()}`);
  const fd = opening(folder, () => {
    const opened = openSync(path, "wx+", ownerOnly);
    unlinkSync(path);
    return opened;
  });
  return diskBlockDevice(new FileDisk(fd, anyone), numBlocks, `a scratch file in ${folder}`);
}

/** The right to use a file. */
interface Claim {
  /** Throws once somebody else has it. */
  check(): void;
  /** Notes that a sync has failed. */
  distrust(): void;
  /** Once. */
  release(): void;
}

/** Of a file that has no writer to be told from others. */
const anyone: Claim = { check: () => {}, distrust: () => {}, release: () => {} };

const claimBytes = 16;

/** A writer's id, in `PATH.writer`. One read from the page cache a look. */
class WriterClaim implements Claim {
  readonly #file: string;
  readonly #unlock: () => void;
  readonly #fd: number;
  readonly #id: Buffer = randomBytes(claimBytes);
  readonly #found: Buffer = Buffer.alloc(claimBytes);

  /** Takes the file over from whoever had it. The lock is held. */
  constructor(file: string, unlock: () => void) {
    this.#file = file;
    this.#unlock = unlock;
    // The same file for each writer in turn: the one before sees what is written into it.
    const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants;
    this.#fd = openSync(`${file}.writer`, O_RDWR | O_CREAT | O_NOFOLLOW, ownerOnly);
    try {
      if (writeSync(this.#fd, this.#id, 0, claimBytes, 0) < claimBytes)
        throw new Error(`${file}.writer took no more bytes`);
    } catch (thrown) {
      closeSync(this.#fd);
      throw thrown;
    }
  }

  get #isOurs(): boolean {
    return (
      readSync(this.#fd, this.#found, 0, claimBytes, 0) === claimBytes &&
      this.#found.equals(this.#id)
    );
  }

  check(): void {
    if (this.#isOurs) return;
    throw new Error(`another writer has opened ${this.#file}: the lock beside it was lost`);
  }

  distrust(): void {
    noteSuspect(this.#file);
  }

  release(): void {
    try {
      // Another one's stays.
      if (this.#isOurs) rmSync(`${this.#file}.writer`, { force: true });
    } finally {
      closeSync(this.#fd);
      this.#unlock();
    }
  }
}

/** A file, by its descriptor. */
class FileDisk implements Disk {
  readonly #fd: number;
  readonly #claim: Claim;
  // A file's length is not what fdatasync is for: after a truncation everything is synced.
  #isResized = false;

  constructor(fd: number, claim: Claim) {
    this.#fd = fd;
    this.#claim = claim;
  }

  readNow(offset: number, target: Uint8Array): number {
    return readSync(this.#fd, target, 0, target.length, offset);
  }

  async read(offset: number, target: Uint8Array): Promise<number> {
    const { bytesRead } = await readAsync(this.#fd, target, 0, target.length, offset);
    this.#claim.check();
    return bytesRead;
  }

  async write(offset: number, source: Uint8Array): Promise<number> {
    this.#claim.check();
    const { bytesWritten } = await writeAsync(this.#fd, source, 0, source.length, offset);
    return bytesWritten;
  }

  async sync(): Promise<void> {
    const isResized = this.#isResized;
    this.#isResized = false;
    await this.#syncing(isResized ? fsyncAsync : fdatasyncAsync);
    // What is acknowledged now was read by whoever comes later.
    this.#claim.check();
  }

  async truncate(length: number): Promise<void> {
    this.#claim.check();
    await ftruncateAsync(this.#fd, length);
    await this.#mergeExtents(length);
    this.#isResized = true;
  }

  close(): void {
    closeSync(this.#fd);
    this.#claim.release();
  }

  // A file that was once in more than four pieces keeps a block for their index on ext4, also when they are gone, until
  // it allocates again: measured on Linux 6, 4 KiB. One more block is written and cut off, where that is so.
  async #mergeExtents(length: number): Promise<void> {
    const { blocks, blksize } = await fstatAsync(this.#fd);
    if (blocks * BLOCK_BYTES <= Math.ceil(length / blksize) * blksize) return;
    this.#claim.check();
    await writeAsync(this.#fd, new Uint8Array(BLOCK_BYTES), 0, BLOCK_BYTES, length);
    await this.#syncing(fdatasyncAsync);
    await ftruncateAsync(this.#fd, length);
  }

  async #syncing(sync: (fd: number) => Promise<void>): Promise<void> {
    try {
      await sync(this.#fd);
    } catch (thrown) {
      this.#claim.distrust();
      throw thrown;
    }
  }
}

// One name for a file whatever link or relative path leads to it: the lock beside it depends on that.
function realPath(path: string): string {
  return opening(path, () => {
    if (existsSync(path)) return realpathSync(path);
    return join(realpathSync(dirname(path)), basename(path));
  });
}

function lock(file: string): () => void {
  // Asked for here: where there is no block file, nothing of SQLite is loaded.
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const database = opening(file, () => new DatabaseSync(`${file}.lock`, { timeout: 0 }));
  try {
    database.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    database.close();
    if ((cause as { errcode?: number }).errcode !== sqliteBusy) throw unavailable(file, cause);
    const message = `Cannot open ${file}: another fabric, here or in another process, is its writer`;
    throw new FabricError("CONFLICT", message, { path: file }, { cause });
  }
  // Idempotent.
  return () => {
    if (database.isOpen) database.close();
  };
}

const hostNames: FileNames = {
  exists: existsSync,
  write(path, bytes) {
    const fd = openSync(path, "wx", ownerOnly);
    try {
      for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
    } finally {
      closeSync(fd);
    }
  },
  // To write: a descriptor that only reads cannot be synced everywhere.
  sync: (path) => syncPath(path, "r+"),
  remove: (path) => rmSync(path, { force: true }),
  rename: renameSync,
  syncFolder: (path) => syncFolder(dirname(path)),
};

// Opens a file to write, with all that can be read from it durable.
function openDurable(file: string): number {
  const fd = openSync(file, "r+");
  try {
    const { nlink } = fstatSync(fd);
    if (nlink > 1)
      throw new FabricError(
        "CONFLICT",
        `Cannot open ${file}: it has ${nlink} hard links, and each name has a lock of its own`,
        { path: file, links: nlink },
      );
    const isSuspect = existsSync(suspectOf(file));
    if (isSuspect) rewrite(fd);
    try {
      fsyncSync(fd);
    } catch (thrown) {
      noteSuspect(file);
      throw thrown;
    }
    if (isSuspect) {
      rmSync(suspectOf(file));
      syncFolder(dirname(file));
    }
    return fd;
  } catch (thrown) {
    closeSync(fd);
    throw thrown;
  }
}

function suspectOf(file: string): string {
  return `${file}.suspect`;
}

// As well as it can be done: the disk that is to keep this has just failed.
function noteSuspect(file: string): void {
  try {
    const { O_WRONLY, O_CREAT, O_NOFOLLOW } = constants;
    const fd = openSync(suspectOf(file), O_WRONLY | O_CREAT | O_NOFOLLOW, ownerOnly);
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    syncFolder(dirname(file));
  } catch {
    // The failure that is to be noted is what the caller throws.
  }
}

/** Bytes that are read and written at a time. */
const rewriteBytes = 2 ** 20;

// Every byte, also those that read as zero: on the disk they may be something else.
function rewrite(fd: number): void {
  const chunk = new Uint8Array(rewriteBytes);
  for (let at = 0; ;) {
    const length = readSync(fd, chunk, 0, chunk.length, at);
    if (length === 0) return;
    for (let done = 0; done < length;) done += writeSync(fd, chunk, done, length - done, at + done);
    at += length;
  }
}

function syncFolder(path: string): void {
  syncPath(path, "r");
}

function syncPath(path: string, flags: "r" | "r+"): void {
  const fd = openSync(path, flags);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function opening<T>(path: string, open: () => T): T {
  try {
    return open();
  } catch (cause) {
    throw isFabricError(cause) ? cause : unavailable(path, cause);
  }
}

function unavailable(path: string, cause: unknown): FabricError {
  const errno = (cause as { code?: unknown }).code;
  const why = cause instanceof Error ? cause.message : String(cause);
  const code = errno === "ENOENT" ? "NOT_FOUND" : "STORE_UNAVAILABLE";
  const details = typeof errno === "string" ? { path, errno } : { path };
  return new FabricError(code, `Cannot open ${path}: ${why}`, details, { cause });
}

function checkPath(name: string, path: unknown): void {
  if (typeof path !== "string" || path === "") throw invalidArgument(name, "a path", path);
}

const nothing = (): Uint8Array => new Uint8Array(0);

/** Most blocks of a device, as of a fabric: 32 GiB. */
const blocksMax = 2 ** 26;

function checkBlocks(numBlocks: unknown): void {
  if (
    !Number.isInteger(numBlocks) ||
    (numBlocks as number) < 1 ||
    (numBlocks as number) > blocksMax
  )
    throw invalidArgument(
      "numBlocks",
      `a whole number of blocks of ${BLOCK_BYTES} bytes`,
      numBlocks,
    );
}
