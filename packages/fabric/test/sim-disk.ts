/**
 * A disk that a test breaks: it loses power at any operation, with any part of what was not synced kept, and fails or
 * shortens operations by plan.
 */
import type { BlockLease, Disk, DiskRequest, Fabric, FabricOptions } from "@selvage/fabric";
import { openOn, type VirtualHost } from "./rig.ts";

const sectorBytes = 512;

/** A change that is not synced yet: a sector's bytes, or a length. */
type Pending =
  | { readonly kind: "sector"; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: "length"; readonly length: number };

/** What a disk holds: plain data, so that one crash can be looked at in many ways. */
export interface Platter {
  readonly bytes: Uint8Array;
  /** What a process that was killed had not synced: it can be read, and power can still take any of it. */
  readonly unsynced?: readonly Pending[];
}

/** One operation of a disk, by its number. */
export interface Operation {
  readonly kind: "read" | "write" | "sync" | "truncate";
  readonly number: number;
}

/** What becomes of an operation: `undefined`, all of it; a string, an error of that code; a number, so many bytes. */
export type Fault = string | number | undefined;

/** Thrown away when power fails: nobody is there to see it. */
const never = new Promise<never>(() => {});

export class SimDisk implements Disk {
  /** Writes, syncs and truncations so far. */
  changes = 0;
  operations = 0;
  closed = 0;
  /** Power fails at the change of this number, which is then one of the unsynced ones. */
  crashAt = Infinity;
  hasCrashed = false;
  fault: (operation: Operation) => Fault = () => undefined;
  #durable: Uint8Array<ArrayBuffer>;
  #pending: Pending[] = [];

  constructor(platter: Platter) {
    this.#durable = platter.bytes.slice();
    this.#pending = [...(platter.unsynced ?? [])];
  }

  /** What a reader sees now: everything, synced or not. */
  get view(): Uint8Array<ArrayBuffer> {
    return this.#pending.length === 0 ? this.#durable : apply(this.#durable, this.#pending);
  }

  /** How many changes are not synced. */
  get unsynced(): number {
    return this.#pending.length;
  }

  /** What the next process finds when this one was killed, and power stayed. */
  left(): Platter {
    return { bytes: this.#durable, unsynced: this.#pending };
  }

  /** What is there after power comes back, if of the unsynced changes those are kept whose bit is set. */
  platter(kept: number): Platter {
    return {
      bytes: apply(
        this.#durable,
        this.#pending.filter((_, bit) => (kept & (1 << bit)) !== 0),
      ),
    };
  }

  /** Every state that a crash may leave; with many unsynced changes, all that lack or have one, and all or none. */
  *platters(): Generator<Platter> {
    const count = this.#pending.length;
    if (count <= 6) {
      for (let kept = 0; kept < 1 << count; kept++) yield this.platter(kept);
      return;
    }
    const all = this.#pending;
    for (let one = -1; one < count; one++) {
      yield {
        bytes: apply(
          this.#durable,
          all.filter((_, bit) => bit === one),
        ),
      };
      yield {
        bytes: apply(
          this.#durable,
          all.filter((_, bit) => bit !== one),
        ),
      };
    }
  }

  readNow(offset: number, target: Uint8Array): number {
    const from = this.view.subarray(offset, offset + target.length);
    target.set(from);
    return from.length;
  }

  async read(offset: number, target: Uint8Array): Promise<number> {
    const part = await this.#begin("read", target.length);
    return this.readNow(offset, target.subarray(0, part));
  }

  async write(offset: number, source: Uint8Array): Promise<number> {
    const part = await this.#begin("write", source.length);
    const view = this.view;
    const end = offset + part;
    for (let at = offset; at < end;) {
      const start = Math.floor(at / sectorBytes) * sectorBytes;
      const next = Math.min(end, start + sectorBytes);
      // A sector is all or nothing: what of it is not written now stays as it is.
      const bytes = new Uint8Array(
        Math.max(next, Math.min(view.length, start + sectorBytes)) - start,
      );
      bytes.set(view.subarray(start, start + bytes.length));
      bytes.set(source.subarray(at - offset, next - offset), at - start);
      this.#pending.push({ kind: "sector", offset: start, bytes });
      at = next;
    }
    await this.#end();
    return part;
  }

  async sync(): Promise<void> {
    const covered = this.#pending.length;
    await this.#begin("sync", 1);
    await this.#end();
    this.#durable = apply(this.#durable, this.#pending.splice(0, covered));
  }

  async truncate(length: number): Promise<void> {
    await this.#begin("truncate", 1);
    this.#pending.push({ kind: "length", length });
    await this.#end();
  }

  close(): void {
    this.closed++;
  }

  // Returns how many bytes of the operation are done.
  async #begin(kind: Operation["kind"], length: number): Promise<number> {
    if (this.hasCrashed) await never;
    const fault = this.fault({ kind, number: this.operations++ });
    await Promise.resolve();
    if (typeof fault === "string")
      throw Object.assign(new Error(`${kind} failed`), { code: fault });
    return Math.min(length, fault ?? length);
  }

  async #end(): Promise<void> {
    if (this.changes++ === this.crashAt) this.hasCrashed = true;
    if (this.hasCrashed) await never;
  }
}

function apply(durable: Uint8Array, pending: readonly Pending[]): Uint8Array<ArrayBuffer> {
  let bytes = durable.slice();
  for (const change of pending) {
    const length =
      change.kind === "length"
        ? change.length
        : Math.max(bytes.length, change.offset + change.bytes.length);
    if (length !== bytes.length) {
      const resized = new Uint8Array(length);
      resized.set(bytes.subarray(0, length));
      bytes = resized;
    }
    if (change.kind === "sector") bytes.set(change.bytes, change.offset);
  }
  return bytes;
}

/** Lets everything happen that a disk in memory lets happen. */
export async function quiet(): Promise<void> {
  for (let turn = 0; turn < 150; turn++) await Promise.resolve();
}

/** A fabric whose blocks are on a simulated disk: 8 blocks and as many lease slots, unless told otherwise. */
export function openSim(
  host: VirtualHost,
  platter?: Platter,
  options: FabricOptions = {},
): { readonly fabric: Fabric; readonly disk: SimDisk } {
  let disk: SimDisk | undefined;
  const fabric = openOn(
    host,
    { blockFile: "sim", blocks: 8, memoryBytes: 64, maxLeases: 8, ...options },
    {
      disk({ image }: DiskRequest) {
        disk = new SimDisk(platter ?? { bytes: image() });
        return disk;
      },
    },
  );
  if (disk === undefined) throw new Error("no disk was asked for");
  return { fabric, disk };
}

/** A block of one byte. */
export const filled = (byte: number, blocks = 1): Uint8Array<ArrayBuffer> =>
  new Uint8Array(blocks * sectorBytes).fill(byte);

/** All bytes of a lease. */
export async function bytesOf(lease: BlockLease): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(lease.bytes);
  await lease.readInto(0, bytes);
  return bytes;
}
