/**
 * Walks through MessagePack before anything is made of it. The library's own bounds are for one container each: headers
 * of arrays in arrays, three bytes apiece, would have it reserve 65,535 slots for every one.
 *
 * Invariant B1: an input within the budget costs memory in proportion to its bytes and elements, and one beyond it is
 * refused before anything is made of it.
 */
import { FabricError, isUtf8, overBudget, type DecodeBudget } from "@selvage/fabric";

/** Bytes after the head of a scalar or an extension of fixed size, by head from 0xca on; -1: not of that kind. */
const fixedSizes = [
  4,
  8,
  1,
  2,
  4,
  8,
  1,
  2,
  4,
  8, // floats, then unsigned and signed integers
] as const;
const FIRST_FIXED = 0xca;
const TIMESTAMP = -1;
/** Seconds from the epoch that a Date reaches. */
const dateSecsMax = 8_640_000_000_000n;

/** The library hands longer texts to the platform, which takes a byte order mark at their beginning away. */
export const MARKED_BYTES_MAX = 200;

function losesMark(bytes: Uint8Array, at: number, length: number): boolean {
  if (length <= MARKED_BYTES_MAX) return false;
  return bytes[at] === 0xef && bytes[at + 1] === 0xbb && bytes[at + 2] === 0xbf;
}

/** Where a walk stands. */
class Walk {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly most: Required<DecodeBudget>;
  /** Next byte to be looked at. */
  at = 0;
  /** Elements that headers have announced, the outermost one included. */
  elements = 1;
  /** What each container that is open still lacks, the outermost first. */
  readonly lacks: number[] = [1];

  constructor(bytes: Uint8Array, most: Required<DecodeBudget>) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.most = most;
  }

  /** Bytes that are left. Compared with what is needed, never added to `at`, which could overflow. */
  get left(): number {
    return this.bytes.length - this.at;
  }

  /** Reads an unsigned length of 1, 2 or 4 bytes. */
  length(size: number): number {
    this.need(size);
    const { at, view } = this;
    this.at += size;
    if (size === 1) return view.getUint8(at);
    return size === 2 ? view.getUint16(at) : view.getUint32(at);
  }

  need(bytes: number): void {
    if (bytes > this.left) throw this.refuse(`it ends ${bytes - this.left} bytes early`);
  }

  skip(bytes: number): void {
    this.need(bytes);
    this.at += bytes;
  }

  text(bytes: number): void {
    this.need(bytes);
    if (!isUtf8(this.view, this.at, bytes)) throw this.refuse("a text that is no UTF-8");
    if (losesMark(this.bytes, this.at, bytes)) throw this.refuse("a long text with a mark");
    this.at += bytes;
  }

  open(children: number): void {
    // Each child takes a byte at least: a header that announces more lies.
    this.need(children);
    this.elements += children;
    const { elements, depth } = this.most;
    if (this.elements > elements)
      throw overBudget("DECODE", "msgpack", {
        what: "elements",
        came: this.elements,
        most: elements,
      });
    if (this.lacks.length > depth)
      throw overBudget("DECODE", "msgpack", {
        what: "depth",
        came: this.lacks.length,
        most: depth,
      });
    this.lacks.push(children);
  }

  extension(bytes: number): void {
    this.need(1 + bytes);
    const type = this.view.getInt8(this.at);
    if (type !== TIMESTAMP) throw this.refuse(`an extension of type ${type}`);
    if (!isDate(this.view, this.at + 1, bytes)) throw this.refuse("a timestamp that is no Date");
    this.at += 1 + bytes;
  }

  refuse(why: string): FabricError {
    return new FabricError("DECODE", `Cannot decode: not MessagePack, ${why}`, {
      codec: "msgpack",
      why,
      at: this.at,
    });
  }
}

/** Passes what is one value of MessagePack within the budget. Some 5 ns an element. @throws FabricError `DECODE`. */
export function walkMsgpack(bytes: Uint8Array, most: Required<DecodeBudget>): void {
  if (bytes.length > most.bytes)
    throw overBudget("DECODE", "msgpack", {
      what: "bytes",
      came: bytes.length,
      most: most.bytes,
    });
  const walk = new Walk(bytes, most);
  const { lacks } = walk;
  for (;;) {
    const lack = lacks[lacks.length - 1];
    if (lack === undefined) break;
    if (lack === 0) {
      lacks.pop();
      continue;
    }
    lacks[lacks.length - 1] = lack - 1;
    walk.need(1);
    walkOne(walk, bytes[walk.at++] as number);
  }
  if (walk.left > 0) throw walk.refuse(`${walk.left} bytes after its end`);
}

function walkOne(walk: Walk, head: number): void {
  // Small integers first: they are most of most data.
  if (head < 0x80 || head >= 0xe0) return;
  if (head < 0x90) walk.open((head & 0x0f) * 2);
  else if (head < 0xa0) walk.open(head & 0x0f);
  else if (head < 0xc0) walk.text(head & 0x1f);
  else if (head >= FIRST_FIXED && head < FIRST_FIXED + fixedSizes.length)
    walk.skip(fixedSizes[head - FIRST_FIXED] as number);
  else walkLong(walk, head);
}

function walkLong(walk: Walk, head: number): void {
  switch (head) {
    case 0xc0: // nil
    case 0xc2: // false
    case 0xc3: // true
      return;
    case 0xc4: // bin 8, 16, 32
    case 0xc5:
    case 0xc6:
      return walk.skip(walk.length(1 << (head - 0xc4)));
    case 0xc7: // ext 8, 16, 32
    case 0xc8:
    case 0xc9:
      return walk.extension(walk.length(1 << (head - 0xc7)));
    case 0xd4: // fixext 1, 2, 4, 8, 16
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
      return walk.extension(1 << (head - 0xd4));
    case 0xd9: // str 8, 16, 32
    case 0xda:
    case 0xdb:
      return walk.text(walk.length(1 << (head - 0xd9)));
    case 0xdc: // array 16, 32
    case 0xdd:
      return walk.open(walk.length(2 << (head - 0xdc)));
    case 0xde: // map 16, 32
    case 0xdf:
      return walk.open(walk.length(2 << (head - 0xde)) * 2);
    default:
      // 0xc1, the one head that means nothing.
      throw walk.refuse("a head of 0xc1");
  }
}

/** Where the value ends that begins at `at`, in bytes that are known to be whole MessagePack. Some 3 ns an element. */
export function skipMsgpack(bytes: Uint8Array, at: number): number {
  let next = at;
  for (let left = 1; left > 0; left--) {
    const head = bytes[next++] as number;
    if (head < 0x80 || head >= 0xe0) continue;
    if (head < 0x90) left += (head & 0x0f) * 2;
    else if (head < 0xa0) left += head & 0x0f;
    else if (head < 0xc0) next += head & 0x1f;
    else if (head >= FIRST_FIXED && head < FIRST_FIXED + fixedSizes.length)
      next += fixedSizes[head - FIRST_FIXED] as number;
    else if (head >= 0xd4 && head <= 0xd8) next += 1 + (1 << (head - 0xd4));
    else if (head >= 0xc4) {
      const size = lengthBytes(head);
      let length = 0;
      for (let byte = 0; byte < size; byte++) length = length * 256 + (bytes[next++] as number);
      if (head >= 0xde) left += length * 2;
      else if (head >= 0xdc) left += length;
      else next += length + (head >= 0xc7 && head <= 0xc9 ? 1 : 0);
    }
  }
  return next;
}

// Bytes of the length after the head of a text, bytes, an extension, a list or a map.
function lengthBytes(head: number): number {
  if (head >= 0xdc) return 2 << ((head - 0xdc) & 1);
  if (head >= 0xd9) return 1 << (head - 0xd9);
  return 1 << ((head - 0xc4) % 3);
}

// Seconds, with nanoseconds of less than a second: of 32 bits, of 34 with 30 before them, or of 64 with 32 before them.
function isDate(view: DataView, at: number, bytes: number): boolean {
  if (bytes === 4) return true;
  if (bytes === 8) return view.getUint32(at) >>> 2 < 1_000_000_000;
  if (bytes !== 12) return false;
  const nanos = view.getUint32(at);
  if (nanos >= 1_000_000_000) return false;
  const secs = view.getBigInt64(at + 4);
  return secs >= -dateSecsMax && (secs < dateSecsMax || (secs === dateSecsMax && nanos === 0));
}
