/**
 * Where a resource is, as bytes that can be published. A locator grants nothing: whoever reads one attaches under the
 * authority of its own fabric, which decides.
 *
 * ```
 *  byte 0  version 1      1  kind: 1 queue, 2 memory, 3 blocks      2  zero, zero
 *       4  lease id, 16 bytes      20  slot      24  generation      28  numbers of the kind, 64 bits each
 * ```
 */
import {
  FabricError,
  formatId,
  invalidArgument,
  parseId,
  type LeaseAddress,
} from "@selvage/fabric";

export type { LeaseAddress } from "@selvage/fabric";

/** A ring in a memory lease. */
export interface QueueLocator extends LeaseAddress {
  readonly kind: "queue";
  /** Byte offset of the ring in the lease. */
  readonly offset: number;
  readonly capacity: number;
  readonly stride: number;
}

/** A range of a memory lease. */
export interface MemRegionLocator extends LeaseAddress {
  readonly kind: "mem";
  readonly offset: number;
  readonly bytes: number;
}

/** A range of a block lease. */
export interface BlockRegionLocator extends LeaseAddress {
  readonly kind: "block";
  readonly firstBlock: number;
  readonly numBlocks: number;
}

/** Any locator. */
export type Locator = QueueLocator | MemRegionLocator | BlockRegionLocator;

const version = 1;
const fixedBytes = 28;

/** The numbers of each kind, in the order in which they are stored. */
const numbersOf = {
  queue: ["offset", "capacity", "stride"],
  mem: ["offset", "bytes"],
  block: ["firstBlock", "numBlocks"],
} as const;
const kinds = ["queue", "mem", "block"] as const;
/** The longest locator, in bytes. */
export const LOCATOR_BYTES_MAX: number =
  fixedBytes + 8 * Math.max(...kinds.map((kind) => numbersOf[kind].length));

/** The bytes of a locator. @throws FabricError `INVALID_ARGUMENT`. */
export function encodeLocator(locator: Locator): Uint8Array<ArrayBuffer> {
  const kind = kinds.indexOf(locator.kind);
  if (kind < 0) throw invalidArgument("locator.kind", `one of ${kinds.join(", ")}`, locator.kind);
  const names = numbersOf[locator.kind];
  const bytes = new Uint8Array(fixedBytes + names.length * 8);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, version);
  view.setUint8(1, kind + 1);
  for (const [word, value] of parseId(locator.leaseId).entries())
    view.setInt32(4 + word * 4, value, true);
  view.setUint32(20, checkWord("slot", locator.slot), true);
  view.setUint32(24, checkWord("generation", locator.generation), true);
  const values = locator as unknown as Readonly<Record<string, number>>;
  for (const [index, name] of names.entries()) {
    const value = values[name];
    if (!Number.isSafeInteger(value) || (value as number) < 0)
      throw invalidArgument(`locator.${name}`, "a whole number from 0 up", value);
    view.setBigUint64(fixedBytes + index * 8, BigInt(value as number), true);
  }
  return bytes;
}

/** The locator that bytes hold. @throws FabricError `DECODE`: unknown versions and kinds are refused. */
export function decodeLocator(bytes: Uint8Array): Locator {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < fixedBytes) throw notLocator(`${bytes.length} bytes`);
  if (view.getUint8(0) !== version) throw notLocator(`version ${view.getUint8(0)}`);
  const kind = kinds[view.getUint8(1) - 1];
  if (kind === undefined || view.getUint16(2) !== 0) throw notLocator("an unknown kind");
  const names = numbersOf[kind];
  if (bytes.length !== fixedBytes + names.length * 8) throw notLocator(`${bytes.length} bytes`);
  const id = Int32Array.from({ length: 4 }, (_, word) => view.getInt32(4 + word * 4, true));
  const numbers = names.map((name, index) => {
    const value = Number(view.getBigUint64(fixedBytes + index * 8, true));
    if (!Number.isSafeInteger(value)) throw notLocator(`${name} beyond 2^53`);
    return [name, value] as const;
  });
  return {
    kind,
    leaseId: formatId(id),
    slot: view.getUint32(20, true),
    generation: view.getUint32(24, true),
    ...Object.fromEntries(numbers),
  } as unknown as Locator;
}

function checkWord(name: string, value: number): number {
  if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff)
    throw invalidArgument(`locator.${name}`, "a 32-bit count", value);
  return value;
}

function notLocator(why: string): FabricError {
  return new FabricError("DECODE", `Cannot read a locator: ${why}`, { why });
}
