/**
 * A node's disk: files in sectors, of which only what was synced is sure to survive a power cut.
 *
 * D1: a write changes what is read at once when it completes, and what survives only by a sync that begins after. Until
 * then a power cut keeps each changed sector or loses it, so that a longer write is torn between sectors. One sector is all
 * or nothing: that is what the fabric's ports promise of a block.
 * D2: a process that is killed loses nothing that had completed: the page cache is the machine's. What was under way may
 * have been done, in part too.
 * D3: after a sync that failed, its sectors count as clean and are not written any more, as Linux has it: a later sync
 * succeeds, and does not make up for it. Whoever opens the file to write next writes it anew.
 * D4: a name survives a power cut by a sync of its folder (`sim-names.ts`). Files are made by the code that makes them in
 * production, `ensureFile`; after each of its steps the disk tells what a power cut at that moment could leave.
 */
import {
  assert,
  ensureFile,
  FabricError,
  isFabricError,
  type Disk,
  type DiskRequest,
  type FileNames,
} from "@selvage/fabric";
import type { RandomStream } from "./random.ts";
import { SimNames } from "./sim-names.ts";
import type { SimNode } from "./sim-node.ts";

/** Bytes that are written together or not at all. */
export const SECTOR_BYTES = 512;

/** What is wrong with a node's disk. */
export interface DiskCondition {
  /** Longest time of an operation, in milliseconds. */
  readonly slowMs: number;
  /** No room for bytes beyond what files hold. */
  readonly isFull: boolean;
  /** Syncs say that they have synced, and have not. */
  readonly lies: boolean;
  /** Reads and writes may stop short. */
  readonly isShort: boolean;
  /** So many syncs from now on fail. */
  readonly failedSyncs: number;
  /** So many reads and writes from now on fail. */
  readonly failedIos: number;
  /** So many writes from now on go to another sector. */
  readonly misdirected: number;
}

const SOUND: DiskCondition = Object.freeze({
  slowMs: 0.3,
  isFull: false,
  lies: false,
  isShort: false,
  failedSyncs: 0,
  failedIos: 0,
  misdirected: 0,
});

/** An error as the host's file system would give it. */
class IoError extends Error {
  readonly code: string;

  constructor(code: string, what: string) {
    super(`${code}: ${what}`);
    this.code = code;
  }
}

interface Pending {
  readonly file: SimFile;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** All files of a node. */
export class SimDisks {
  readonly #node: SimNode;
  readonly #names = new SimNames<SimFile>();
  readonly #random: RandomStream;
  readonly #pending = new Set<Pending>();
  #condition: DiskCondition = SOUND;

  constructor(node: SimNode) {
    this.#node = node;
    this.#random = node.kernel.random(`disk/${node.name}`);
  }

  get condition(): DiskCondition {
    return this.#condition;
  }

  /** Changes what is wrong. */
  setCondition(condition: Partial<DiskCondition>): void {
    this.#condition = { ...this.#condition, ...condition };
  }

  /** Nothing is wrong any more. What was lost stays lost. */
  heal(): void {
    this.#condition = SOUND;
  }

  /** The bytes that a file would have after a power cut that loses all that was not synced; undefined: no such file. */
  durableBytes(path: string): Uint8Array | undefined {
    return this.#names.durable(path)?.durable();
  }

  /**
   * Opens a file, or makes it: the fabric's `disk` port. A writer finds durable what it can read, as the port has it: it
   * syncs the file, and writes it anew before that where a sync had failed.
   * @throws FabricError `CONFLICT`, `NOT_FOUND`, `STORE_UNAVAILABLE`.
   */
  open({ path, access, image }: DiskRequest): Disk {
    if (access === "write") {
      if (this.#names.get(path)?.hasWriter === true)
        throw new FabricError("CONFLICT", `Cannot open ${path}: it has a writer`, { path });
      this.#opening(path, () => ensureFile(this.#namesFor(path), path, image));
    }
    const file = this.#names.get(path);
    if (file === undefined)
      throw new FabricError("NOT_FOUND", `Cannot open ${path}: there is no such file`, { path });
    if (access === "write") {
      this.#opening(path, () => this.#makeDurable(file));
      file.hasWriter = true;
      this.#tell("disk.opened", path, "open");
    }
    return new OpenFile(this, file, access === "write");
  }

  #opening(path: string, run: () => void): void {
    try {
      run();
    } catch (thrown) {
      if (isFabricError(thrown) || !(thrown instanceof IoError)) throw thrown;
      const { code: errno, message } = thrown;
      const why = `Cannot open ${path}: ${message}`;
      throw new FabricError("STORE_UNAVAILABLE", why, { path, errno });
    }
  }

  // Names as a host has them, while the file at `live` is being made; what comes of each step is told (D4).
  #namesFor(live: string): FileNames {
    const names = this.#names;
    const step = (what: string, run: () => void): void => {
      run();
      this.#tell("disk.named", live, what);
    };
    return {
      exists: (path) => names.get(path) !== undefined,
      write: (path, bytes) =>
        step("write", () => {
          this.checkIo("write");
          if (names.get(path) !== undefined) throw new IoError("EEXIST", "open");
          if (this.#condition.isFull) throw new IoError("ENOSPC", "write");
          names.add(path, new SimFile(bytes));
        }),
      sync: (path) =>
        step("sync", () => {
          const file = names.get(path);
          if (file !== undefined) this.#syncNow(file);
        }),
      remove: (path) => step("remove", () => names.remove(path)),
      rename: (from, to) => step("rename", () => names.rename(from, to)),
      syncFolder: () =>
        step("sync the folder", () => {
          this.#checkSync();
          if (this.#condition.lies) this.#node.record("disk.lied");
          else names.sync();
        }),
    };
  }

  #tell(kind: string, path: string, step: string): void {
    const outcomes = this.#names.outcomes(path);
    const mayBeMissing = outcomes.includes(undefined);
    const mayBeTorn = outcomes.some((file) => file !== undefined && !file.isWhole);
    this.#node.record(kind, { path, step, mayBeMissing, mayBeTorn });
  }

  #checkSync(): void {
    const { failedSyncs } = this.#condition;
    if (failedSyncs <= 0) return;
    this.setCondition({ failedSyncs: failedSyncs - 1 });
    throw new IoError("EIO", "sync");
  }

  #syncNow(file: SimFile): void {
    try {
      this.#checkSync();
    } catch (thrown) {
      file.forget(file.changed());
      throw thrown;
    }
    if (this.#condition.lies) this.#node.record("disk.lied");
    else file.keep(file.changed());
  }

  #makeDurable(file: SimFile): void {
    if (file.isSuspect) file.rewrite();
    this.#syncNow(file);
    file.isSuspect = false;
  }

  /** Flips one bit of what a file holds. False when there is nothing to flip. */
  flip(): boolean {
    const files = this.#names.entries().filter(([, file]) => file.length > 0);
    if (files.length === 0) return false;
    const [path, file] = this.#random.pick(files);
    const at = this.#random.below(file.length);
    file.flip(at, this.#random.below(8));
    this.#node.record("disk.flipped", { path, at });
    return true;
  }

  /** The process is gone; with `"unsynced"` the power too. */
  crash(loses: "memory" | "unsynced"): void {
    for (const { file, offset, bytes } of this.#pending) {
      const sectors = Math.ceil(bytes.length / SECTOR_BYTES);
      const done = this.#random.below(sectors + 1) * SECTOR_BYTES;
      file.write(offset, bytes.subarray(0, done));
    }
    this.#pending.clear();
    const { kernel, name } = this.#node;
    const tell = (kind: string): void => void kernel.record(name, kind);
    if (loses === "unsynced") this.#names.lose(this.#random, tell);
    for (const [, file] of this.#names.entries()) {
      file.hasWriter = false;
      if (loses === "unsynced") file.lose(this.#random, tell);
    }
  }

  // What follows is for files that are open.

  /** Does `run` after the time that an operation takes; never, where nobody is there to ask for it. */
  operate<T>(what: string, run: () => T): Promise<T> {
    if (!this.#node.isUp) return new Promise(() => {});
    const { slowMs } = this.#condition;
    const us = this.#random.between(20, Math.max(20, Math.round(slowMs * 1_000)));
    return new Promise((resolve, reject) => {
      this.#node.after(us, "disk", () => {
        try {
          resolve(run());
        } catch (thrown) {
          const error = thrown as IoError;
          this.#node.record("disk.failed", { what, code: error.code });
          reject(error);
        }
      });
    });
  }

  /** @throws IoError when reads and writes fail at the moment. */
  checkIo(what: string): void {
    if (this.#condition.failedIos <= 0) return;
    this.setCondition({ failedIos: this.#condition.failedIos - 1 });
    throw new IoError("EIO", what);
  }

  /** How much of `length` bytes an operation moves. */
  moved(length: number): number {
    if (!this.#condition.isShort || length < 2 || this.#random.chance(1, 2)) return length;
    this.#node.record("disk.short");
    return this.#random.between(1, length - 1);
  }

  /** A write: as it goes to the file in the end. */
  begin(file: SimFile, offset: number, source: Uint8Array): Promise<number> {
    const pending: Pending = { file, offset, bytes: source.slice() };
    // N1: what a process that has died still asks for is not begun.
    if (this.#node.isUp) this.#pending.add(pending);
    return this.operate("write", () => {
      this.#pending.delete(pending);
      this.checkIo("write");
      const { isFull, misdirected } = this.#condition;
      if (isFull && offset + source.length > file.length) throw new IoError("ENOSPC", "write");
      const bytes = pending.bytes.subarray(0, this.moved(source.length));
      let at = offset;
      if (misdirected > 0 && file.length > SECTOR_BYTES) {
        this.setCondition({ misdirected: misdirected - 1 });
        at = this.#random.below(Math.floor(file.length / SECTOR_BYTES)) * SECTOR_BYTES;
        this.#node.record("disk.misdirected", { from: offset, to: at });
      }
      file.write(at, bytes);
      return bytes.length;
    });
  }

  /** A sync. */
  sync(file: SimFile): Promise<void> {
    const sectors = file.changed();
    return this.operate("sync", () => {
      const { failedSyncs, lies } = this.#condition;
      if (failedSyncs > 0) {
        this.setCondition({ failedSyncs: failedSyncs - 1 });
        file.forget(sectors);
        throw new IoError("EIO", "sync");
      }
      if (lies) this.#node.record("disk.lied");
      else file.keep(sectors);
      this.#node.record("disk.synced");
    });
  }
}

/** A file's bytes: as they are read, and as they would be after a power cut. */
class SimFile {
  hasWriter = false;
  /** A sync has failed, and the file was not written anew since. */
  isSuspect = false;
  /** All that it was made with survives a power cut. */
  isWhole = false;
  length: number;
  #durableLength: number;
  readonly #cached = new Map<number, Uint8Array>();
  readonly #durable = new Map<number, Uint8Array>();
  /** Sectors that a power cut may lose, and how often each was written. */
  readonly #changed = new Map<number, number>();

  constructor(image: Uint8Array) {
    this.length = 0;
    this.write(0, image);
    this.#durableLength = 0;
  }

  read(offset: number, target: Uint8Array): number {
    const count = Math.max(0, Math.min(target.length, this.length - offset));
    for (let at = 0; at < count;) {
      const [sector, within] = placeOf(offset + at);
      const size = Math.min(SECTOR_BYTES - within, count - at);
      const bytes = this.#cached.get(sector);
      if (bytes === undefined) target.fill(0, at, at + size);
      else target.set(bytes.subarray(within, within + size), at);
      at += size;
    }
    return count;
  }

  write(offset: number, source: Uint8Array): void {
    for (let at = 0; at < source.length;) {
      const [sector, within] = placeOf(offset + at);
      const size = Math.min(SECTOR_BYTES - within, source.length - at);
      this.#sector(sector).set(source.subarray(at, at + size), within);
      this.#changed.set(sector, (this.#changed.get(sector) ?? 0) + 1);
      at += size;
    }
    if (source.length > 0) this.length = Math.max(this.length, offset + source.length);
  }

  truncate(length: number): void {
    for (const [sector, bytes] of this.#cached) {
      if ((sector + 1) * SECTOR_BYTES <= length) continue;
      bytes.fill(0, Math.max(0, length - sector * SECTOR_BYTES));
      this.#changed.set(sector, (this.#changed.get(sector) ?? 0) + 1);
    }
    this.length = length;
  }

  changed(): ReadonlyMap<number, number> {
    return new Map(this.#changed);
  }

  /** These sectors survive from now on; one that was written again since may still be lost. */
  keep(sectors: ReadonlyMap<number, number>): void {
    for (const [sector, writes] of sectors) {
      const durable = this.#durable.get(sector);
      if (durable === undefined) this.#durable.set(sector, this.#sector(sector).slice());
      else durable.set(this.#sector(sector));
      if (this.#changed.get(sector) === writes) this.#changed.delete(sector);
    }
    this.#durableLength = this.length;
    this.isWhole = true;
  }

  /** These sectors count as written, and are not (D3); one that was written again since is still to be written. */
  forget(sectors: ReadonlyMap<number, number>): void {
    for (const [sector, writes] of sectors)
      if (this.#changed.get(sector) === writes) this.#changed.delete(sector);
    this.isSuspect = true;
  }

  /** Every sector is to be written again. */
  rewrite(): void {
    for (const sector of this.#cached.keys())
      this.#changed.set(sector, (this.#changed.get(sector) ?? 0) + 1);
  }

  /** The power fails (D1). */
  lose(random: RandomStream, tell: (kind: string) => void): void {
    const kept = new Map<number, Uint8Array>();
    for (const sector of [...this.#changed.keys()].toSorted((a, b) => a - b)) {
      if (random.chance(1, 2)) kept.set(sector, this.#sector(sector).slice());
      else tell("disk.lost");
    }
    for (const [sector, bytes] of kept) this.#durable.set(sector, bytes);
    // A length that was not synced may be there already: what lies between reads as zeros, or as what was kept.
    const last = Math.max(0, ...[...kept.keys()].map((sector) => (sector + 1) * SECTOR_BYTES));
    const isCutOff = this.length < this.#durableLength && random.chance(1, 2);
    if (isCutOff || this.length >= this.#durableLength)
      this.length = Math.min(this.length, Math.max(this.#durableLength, last));
    else {
      // Neither has the file been made shorter until that was synced.
      this.length = this.#durableLength;
      tell("disk.lost");
    }
    this.#durableLength = this.length;
    this.isSuspect = false;
    this.#cached.clear();
    this.#clearBeyond(this.length);
    for (const [sector, bytes] of this.#durable) this.#cached.set(sector, bytes.slice());
    this.#changed.clear();
  }

  // What is no part of the file any more is not there again when it grows.
  #clearBeyond(length: number): void {
    for (const [sector, bytes] of this.#durable)
      if ((sector + 1) * SECTOR_BYTES > length)
        bytes.fill(0, Math.max(0, length - sector * SECTOR_BYTES));
  }

  flip(at: number, bit: number): void {
    const [sector, within] = placeOf(at);
    for (const bytes of [this.#sector(sector), this.#durable.get(sector)])
      if (bytes !== undefined) bytes[within] = (bytes[within] as number) ^ (1 << bit);
  }

  durable(): Uint8Array {
    const bytes = new Uint8Array(this.#durableLength);
    for (const [sector, part] of this.#durable) {
      const left = this.#durableLength - sector * SECTOR_BYTES;
      if (left > 0) bytes.set(part.subarray(0, left), sector * SECTOR_BYTES);
    }
    return bytes;
  }

  #sector(sector: number): Uint8Array {
    const known = this.#cached.get(sector);
    if (known !== undefined) return known;
    const made = new Uint8Array(SECTOR_BYTES);
    this.#cached.set(sector, made);
    return made;
  }
}

/** A file as one incarnation has it open. */
class OpenFile implements Disk {
  readonly #disks: SimDisks;
  readonly #file: SimFile;
  readonly #isWriter: boolean;
  #isClosed = false;

  constructor(disks: SimDisks, file: SimFile, isWriter: boolean) {
    this.#disks = disks;
    this.#file = file;
    this.#isWriter = isWriter;
  }

  readNow(offset: number, target: Uint8Array): number {
    return this.#file.read(offset, target);
  }

  read(offset: number, target: Uint8Array): Promise<number> {
    this.#check();
    return this.#disks.operate("read", () => {
      this.#disks.checkIo("read");
      return this.#file.read(offset, target.subarray(0, this.#disks.moved(target.length)));
    });
  }

  write(offset: number, source: Uint8Array): Promise<number> {
    this.#check();
    return this.#disks.begin(this.#file, offset, source);
  }

  sync(): Promise<void> {
    this.#check();
    return this.#disks.sync(this.#file);
  }

  truncate(length: number): Promise<void> {
    this.#check();
    return this.#disks.operate("truncate", () => this.#file.truncate(length));
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#isWriter) this.#file.hasWriter = false;
  }

  #check(): void {
    assert(!this.#isClosed, "a closed file is not used");
  }
}

function placeOf(offset: number): readonly [sector: number, within: number] {
  const sector = Math.floor(offset / SECTOR_BYTES);
  return [sector, offset - sector * SECTOR_BYTES];
}
