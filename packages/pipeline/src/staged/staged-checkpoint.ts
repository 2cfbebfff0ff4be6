/**
 * What a run keeps under its id: who runs it, what it is bound to, and how far it is.
 *
 * ```
 *  byte 0  magic "SVK1"                    12  length of the header (Uint32, little endian)
 *       4  checksum of what follows        16  the header, in JSON; then the state that is in the record
 * ```
 */
import { checksum, FabricError, jsonCodec, type BlockTicket } from "@selvage/fabric";

/** Where a state is. */
export type StatePlace =
  /** It is the run's payload. */
  | { readonly kind: "payload" }
  /** It is undefined. */
  | { readonly kind: "none" }
  /** It is in the record itself. */
  | { readonly kind: "inline" }
  /** It is in leased blocks. */
  | { readonly kind: "blocks"; readonly ref: StateRef };

/** A state in leased blocks. */
export interface StateRef {
  readonly ticket: BlockTicket;
  readonly bytes: number;
  /** Of the bytes. */
  readonly checksum: readonly [number, number];
}

/** A state, and how many stages have ended when it is there. */
export interface StageMark {
  readonly finished: number;
  readonly place: StatePlace;
}

/** How a run stands. */
export interface RunHeader extends StageMark {
  /** Drawn for one runner; null: nobody runs it. */
  readonly runner: string | null;
  /** The revision by which the runner claimed the run; 0 in that record itself. */
  readonly epoch: number;
  /** Counts what the runner has written, so that one who watches sees that it lives. */
  readonly beat: number;
  readonly ttlMs: number;
  readonly stages: readonly string[];
  /** SHA-256 of the payload; "none" where it is undefined. */
  readonly payload: string;
  /** The mark before, where this one's state is in blocks, which can be lost by themselves. */
  readonly earlier?: StageMark;
}

/** A header, and the bytes of its inline state: its own, or the earlier one's. */
export interface RunState {
  readonly header: RunHeader;
  readonly inline: Uint8Array;
}

const magic = Uint8Array.of(0x53, 0x56, 0x4b, 0x31);
const headBytes = 16;
const headers = jsonCodec<RunHeader>(undefined, { bytes: 1 << 20, elements: 1 << 18, depth: 8 });

/** Lays a record out. @throws FabricError `ENCODE`: the stages' names take more than a header may. */
export function encodeRun({ header, inline }: RunState): Uint8Array {
  const head = headers.encode(header);
  const bytes = new Uint8Array(headBytes + head.length + inline.length);
  const view = new DataView(bytes.buffer);
  bytes.set(magic);
  view.setUint32(12, head.length, true);
  bytes.set(head, headBytes);
  bytes.set(inline, headBytes + head.length);
  const [first, second] = checksum(bytes, 12);
  view.setInt32(4, first, true);
  view.setInt32(8, second, true);
  return bytes;
}

/** Reads a record. @throws FabricError `CORRUPT_RECORD`. */
export function decodeRun(bytes: Uint8Array): RunState {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < headBytes || magic.some((byte, at) => bytes[at] !== byte)) throw damaged();
  const [first, second] = checksum(bytes, 12);
  if (view.getInt32(4, true) !== first || view.getInt32(8, true) !== second) throw damaged();
  const inlineAt = headBytes + view.getUint32(12, true);
  if (inlineAt > bytes.length) throw damaged();
  try {
    const header = headers.decode(bytes.subarray(headBytes, inlineAt));
    return { header, inline: bytes.slice(inlineAt) };
  } catch (cause) {
    throw damaged(cause);
  }
}

function damaged(cause?: unknown): FabricError {
  const options = cause === undefined ? undefined : { cause };
  return new FabricError(
    "CORRUPT_RECORD",
    "Cannot read the checkpoint: it is damaged",
    {},
    options,
  );
}
