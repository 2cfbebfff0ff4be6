/**
 * A hash table in shared memory: chains of nodes under buckets. Keys and values are bytes here.
 *
 * One thread writes at a time, any number reads. What holds:
 *
 * M2: a node that a reader can reach is not written to. A new value is a new node, linked in by one store.
 * M3: a read gives a value that was the key's at some moment during the call, whole.
 * M4: a writer that dies anywhere leaves each key with its old value or its new one. Readers notice nothing; the next
 * writer finds the books open and counts anew.
 *
 * Order M3. Reader: R1 loads the bucket's version, R2 loads links (atomic), R3 reads nodes (plain), R4 adds 0 to the
 * version. Writer: W1 fills a free node (plain), W2 stores the link to it (atomic), W3 adds 1 to the version of the
 * bucket that a node left, W4 writes to the node that left (plain, at the next operation that needs one).
 * - R2 that sees W2's link synchronises with it, so R3 sees W1.
 * - R4 comes before W3 in the order of the version's changes, or after it. Before: W3 reads what R4 wrote (both are
 *   read-modify-writes, so between them are others of the kind only), synchronises with it, and R3, before R4, does not
 *   see W4, after W3. After: R4 finds another version than R1, unless R1 came after W3 too; then R2, after R1, finds the
 *   link that W2 took to the node gone. Either way a read that passes R4 has seen whole nodes only.
 * A load in place of R4 would leave R3 free to be done after it (processors of the ARM kind do so); a store in place of
 * W3 would synchronise with nobody. Cost: a read that finds takes three atomics, one more for each further node; one
 * that meets an empty bucket takes two. A write takes four or five.
 *
 * Order L1 (writers). The word of writes goes from even to odd by a compare-exchange, from odd to even by a store. A
 * writer whose exchange finds what the one before stored synchronises with it and sees all that it wrote, plainly or
 * not. The thread's nonce is exchanged together with the word, so whoever finds it odd knows whom to wait for.
 */
import { FabricError, isAttached, THREADS_MAX, type LeaseRegion } from "@selvage/fabric";
import {
  BUCKET_VERSION,
  BUCKET_WORDS,
  bucketsOf,
  BUCKETS,
  COUNT,
  damaged,
  FREE,
  NODE_HASH,
  NODE_KEY,
  NODE_KEY_BYTES,
  NODE_NEXT,
  NODE_VALUE_BYTES,
  nodeWordsOf,
  REPAIRS,
  USED,
  WRITER,
  WRITES,
  type MapHeader,
} from "./map-layout.ts";

/** How often a read is tried while writers replace what it reads: one try fails in some, a hundred never do. */
const readTriesMax = 10_000;
/** How often a writer looks whether another is done: about a millisecond's worth, hundreds of writes. */
const lockLooksMax = 100_000;
/** How often, among them, it looks whether the other has died. */
const lockLooksPerCheck = 1_000;
/** A reader that has come so far astray asks whether it is. */
const hopsPerCheck = 32;
/** Up to here a loop over words copies faster than `set` of a `subarray`. */
const copyLoopWordsMax = 64;

/** What `find` answers besides a length. */
const ABSENT = -1;
const DAMAGED = -2;
const ASTRAY = -3;
/** `#idle` before the first write: odd, which no idle word is. */
const NEVER = -1;

/** One entry's bytes, copied. */
export interface RawEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** The table of one lease, as one thread reaches it. */
export class MapTable {
  readonly header: MapHeader;
  /** Where a key is put before any call that takes `keyBytes`, and its words. */
  readonly key: Uint8Array;
  /** Where `read` leaves a value, and `write` takes it from. */
  readonly value: Uint8Array;
  readonly #keyWords: Int32Array;
  readonly #valueWords: Int32Array;
  readonly #region: LeaseRegion;
  readonly #words: LeaseRegion["memory"]["words"];
  readonly #plain: Int32Array;
  readonly #base: number;
  readonly #mask: number;
  readonly #nodesAt: number;
  readonly #nodeWords: number;
  readonly #nodes: number;
  readonly #valueAt: number;
  readonly #self: number;
  // The word of writes as this handle left it. If it is still that, nobody has written since, and the writer is this thread.
  #idle: number = NEVER;
  #held = 0;

  constructor(region: LeaseRegion, header: MapHeader) {
    this.header = header;
    this.#region = region;
    this.#words = region.memory.words;
    this.#plain = region.memory.plain;
    this.#base = region.offset / 4;
    const buckets = bucketsOf(header.capacity);
    this.#mask = buckets - 1;
    this.#nodeWords = nodeWordsOf(header);
    this.#nodesAt = this.#base + BUCKETS + buckets * BUCKET_WORDS;
    this.#nodes = header.capacity + 1;
    this.#valueAt = NODE_KEY + Math.ceil(header.keyBytes / 4);
    this.#keyWords = new Int32Array(Math.ceil(header.keyBytes / 4));
    this.#valueWords = new Int32Array(Math.ceil(header.valueBytes / 4));
    this.key = new Uint8Array(this.#keyWords.buffer, 0, header.keyBytes);
    this.value = new Uint8Array(this.#valueWords.buffer, 0, header.valueBytes);
    this.#self = region.site.pulse.nonce;
  }

  /** Entries, lately. */
  get size(): number {
    this.#words.load(this.#base + WRITES);
    return this.#plain[this.#base + COUNT] as number;
  }

  /** How often a dead writer's books were put in order. */
  get repairs(): number {
    return this.#words.load(this.#base + REPAIRS);
  }

  get buckets(): number {
    return this.#mask + 1;
  }

  /** Copies the value of the key into `value`; returns its length, or -1 if there is none. @throws as {@link find}. */
  read(keyBytes: number): number {
    return this.#find(keyBytes, true);
  }

  /** @throws FabricError `CORRUPT_RECORD`, `TIMED_OUT` (replaced again and again under the reader's eyes). */
  has(keyBytes: number): boolean {
    return this.#find(keyBytes, false) >= 0;
  }

  /**
   * Sets the key's value; false if it is a new key and the map is full.
   * @throws FabricError `CORRUPT_RECORD`, `TIMED_OUT` (another thread is writing); then nothing was written.
   */
  write(keyBytes: number, valueBytes: number): boolean {
    const hash = this.#hash(keyBytes);
    const bucket = this.#bucketOf(hash);
    this.#lock();
    try {
      const link = this.#locate(bucket, hash, keyBytes);
      const old = this.#plain[link] as number;
      const count = this.#count();
      if (old === 0 && count >= this.header.capacity) return false;
      const node = this.#take();
      const at = this.#nodeAt(node);
      this.#fill(at, hash, keyBytes, valueBytes);
      if (old === 0) {
        this.#plain[at + NODE_NEXT] = this.#plain[bucket] as number;
        this.#words.store(bucket, node);
        this.#plain[this.#base + COUNT] = count + 1;
      } else {
        this.#plain[at + NODE_NEXT] = this.#plain[this.#nodeAt(old) + NODE_NEXT] as number;
        this.#words.store(link, node);
        this.#words.add(bucket + BUCKET_VERSION, 1);
        this.#give(old);
      }
      return true;
    } finally {
      this.#unlock();
    }
  }

  /** Removes the key; false if it was not there. Errors as `write`. */
  remove(keyBytes: number): boolean {
    const hash = this.#hash(keyBytes);
    const bucket = this.#bucketOf(hash);
    this.#lock();
    try {
      const link = this.#locate(bucket, hash, keyBytes);
      const old = this.#plain[link] as number;
      if (old === 0) return false;
      const count = this.#count();
      this.#words.store(link, this.#plain[this.#nodeAt(old) + NODE_NEXT] as number);
      this.#words.add(bucket + BUCKET_VERSION, 1);
      this.#give(old);
      this.#plain[this.#base + COUNT] = count - 1;
      return true;
    } finally {
      this.#unlock();
    }
  }

  /** Removes every key, bucket by bucket. Errors as `write`. */
  clear(): void {
    this.#lock();
    try {
      for (let index = 0; index <= this.#mask; index++) {
        const bucket = this.#base + BUCKETS + index * BUCKET_WORDS;
        if (this.#plain[bucket] === 0) continue;
        this.#words.store(bucket, 0);
        this.#words.add(bucket + BUCKET_VERSION, 1);
      }
      // Every version has gone up: whatever a reader holds, it will not believe.
      this.#plain[this.#base + COUNT] = 0;
      this.#plain[this.#base + FREE] = 0;
      this.#plain[this.#base + USED] = 0;
    } finally {
      this.#unlock();
    }
  }

  /** The entries of a bucket, as they stood together at one moment. @throws as `has`. */
  entriesOf(bucketIndex: number): readonly RawEntry[] {
    const bucket = this.#base + BUCKETS + bucketIndex * BUCKET_WORDS;
    for (let tries = 0; tries < readTriesMax; tries++) {
      const version = this.#words.load(bucket + BUCKET_VERSION);
      const entries: RawEntry[] = [];
      let node = this.#words.load(bucket);
      if (node === 0) return entries;
      let isWhole = true;
      for (let hops = 1; node !== 0; hops++) {
        const at = this.#nodeAt(node);
        const entry = at === 0 || hops > this.#nodes ? undefined : this.#copyEntry(at);
        if (entry === undefined || this.#isAstray(hops, bucket, version)) {
          isWhole = false;
          break;
        }
        entries.push(entry);
        node = this.#words.load(at + NODE_NEXT);
      }
      if (this.#words.add(bucket + BUCKET_VERSION, 0) !== version) continue;
      if (isWhole) return entries;
      throw damaged("a chain leads nowhere");
    }
    throw this.#overtaken();
  }

  #find(keyBytes: number, copy: boolean): number {
    const words = this.#words;
    const hash = this.#hash(keyBytes);
    const bucket = this.#bucketOf(hash);
    for (let tries = 0; tries < readTriesMax; tries++) {
      const version = words.load(bucket + BUCKET_VERSION);
      const first = words.load(bucket);
      // Nothing was read that could be torn, and at this moment the key was not there.
      if (first === 0) return ABSENT;
      const length = this.#walk(first, bucket, version, hash, keyBytes, copy);
      if (words.add(bucket + BUCKET_VERSION, 0) !== version) continue;
      if (length === DAMAGED || length === ASTRAY) throw damaged("a chain leads nowhere");
      return length;
    }
    throw this.#overtaken();
  }

  #walk(
    first: number,
    bucket: number,
    version: number,
    hash: number,
    keyBytes: number,
    copy: boolean,
  ): number {
    const plain = this.#plain;
    let node = first;
    for (let hops = 1; node !== 0; hops++) {
      const at = this.#nodeAt(node);
      if (at === 0 || hops > this.#nodes) return DAMAGED;
      if (this.#isAstray(hops, bucket, version)) return ASTRAY;
      if (plain[at + NODE_HASH] === hash && this.#holdsKey(at, keyBytes))
        return this.#copyValue(at, copy);
      node = this.#words.load(at + NODE_NEXT);
    }
    return ABSENT;
  }

  // A reader on a node that has gone elsewhere follows that one's links: through other chains, and never out of bounds.
  #isAstray(hops: number, bucket: number, version: number): boolean {
    return hops % hopsPerCheck === 0 && this.#words.load(bucket + BUCKET_VERSION) !== version;
  }

  #holdsKey(at: number, keyBytes: number): boolean {
    const plain = this.#plain;
    const key = this.#keyWords;
    if (plain[at + NODE_KEY_BYTES] !== keyBytes) return false;
    const words = (keyBytes + 3) >> 2;
    for (let word = 0; word < words; word++)
      if (plain[at + NODE_KEY + word] !== key[word]) return false;
    return true;
  }

  #copyValue(at: number, copy: boolean): number {
    const length = this.#plain[at + NODE_VALUE_BYTES] as number;
    if (length < 0 || length > this.header.valueBytes) return DAMAGED;
    if (copy) this.#copyOut(at + this.#valueAt, this.#valueWords, this.value, length);
    return length;
  }

  #copyOut(at: number, target: Int32Array, bytes: Uint8Array, length: number): void {
    const plain = this.#plain;
    const count = (length + 3) >> 2;
    if (count > copyLoopWordsMax) {
      bytes.set(this.#region.memory.bytes.subarray(at * 4, at * 4 + length));
      return;
    }
    for (let word = 0; word < count; word++) target[word] = plain[at + word] as number;
  }

  #copyEntry(at: number): RawEntry | undefined {
    const keyBytes = this.#plain[at + NODE_KEY_BYTES] as number;
    const valueBytes = this.#plain[at + NODE_VALUE_BYTES] as number;
    const { header } = this;
    if (keyBytes < 0 || keyBytes > header.keyBytes) return undefined;
    if (valueBytes < 0 || valueBytes > header.valueBytes) return undefined;
    return {
      key: this.#copyBytes(at + NODE_KEY, keyBytes),
      value: this.#copyBytes(at + this.#valueAt, valueBytes),
    };
  }

  #copyBytes(at: number, length: number): Uint8Array {
    const words = new Int32Array((length + 3) >> 2);
    const bytes = new Uint8Array(words.buffer, 0, length);
    this.#copyOut(at, words, bytes, length);
    return bytes;
  }

  #fill(at: number, hash: number, keyBytes: number, valueBytes: number): void {
    const plain = this.#plain;
    plain[at + NODE_HASH] = hash;
    plain[at + NODE_KEY_BYTES] = keyBytes;
    plain[at + NODE_VALUE_BYTES] = valueBytes;
    const keyCount = (keyBytes + 3) >> 2;
    for (let word = 0; word < keyCount; word++)
      plain[at + NODE_KEY + word] = this.#keyWords[word] as number;
    const valueAt = at + this.#valueAt;
    const valueCount = (valueBytes + 3) >> 2;
    if (valueCount > copyLoopWordsMax) plain.set(this.#valueWords.subarray(0, valueCount), valueAt);
    else
      for (let word = 0; word < valueCount; word++)
        plain[valueAt + word] = this.#valueWords[word] as number;
  }

  /** The word that holds the key's node, under the lock; it holds 0 if there is none. */
  #locate(bucket: number, hash: number, keyBytes: number): number {
    const plain = this.#plain;
    let link = bucket;
    for (let hops = 0; hops <= this.#nodes; hops++) {
      const node = plain[link] as number;
      if (node === 0) return link;
      const at = this.#nodeAt(node);
      if (at === 0) break;
      if (plain[at + NODE_HASH] === hash && this.#holdsKey(at, keyBytes)) return link;
      link = at + NODE_NEXT;
    }
    throw damaged("a chain leads nowhere");
  }

  #count(): number {
    const count = this.#plain[this.#base + COUNT] as number;
    if (count < 0 || count > this.header.capacity) throw damaged("its count is none");
    return count;
  }

  /** A node that no reader can reach. There is one: nodes are one more than entries. */
  #take(): number {
    const plain = this.#plain;
    const free = plain[this.#base + FREE] as number;
    if (free !== 0) {
      const at = this.#nodeAt(free);
      if (at === 0) throw damaged("the list of free nodes leads nowhere");
      plain[this.#base + FREE] = plain[at + NODE_NEXT] as number;
      return free;
    }
    const used = plain[this.#base + USED] as number;
    if (used < 0 || used >= this.#nodes) throw damaged("it has run out of nodes");
    plain[this.#base + USED] = used + 1;
    return used + 1;
  }

  #give(node: number): void {
    this.#plain[this.#nodeAt(node) + NODE_NEXT] = this.#plain[this.#base + FREE] as number;
    this.#plain[this.#base + FREE] = node;
  }

  /** First word of a node; 0 if there is no such node (M1). */
  #nodeAt(node: number): number {
    return node >= 1 && node <= this.#nodes ? this.#nodesAt + (node - 1) * this.#nodeWords : 0;
  }

  #bucketOf(hash: number): number {
    return this.#base + BUCKETS + (hash & this.#mask) * BUCKET_WORDS;
  }

  /** Fills the last word of the key with zeros, and hashes it: Murmur3's mixing, word by word. */
  #hash(keyBytes: number): number {
    const words = this.#keyWords;
    const count = (keyBytes + 3) >> 2;
    for (let at = keyBytes; at < count * 4 && at < this.key.length; at++) this.key[at] = 0;
    let hash = this.header.seed ^ keyBytes;
    for (let word = 0; word < count; word++) {
      const mixed = Math.imul(words[word] as number, 0xcc9e_2d51);
      hash ^= Math.imul((mixed << 15) | (mixed >>> 17), 0x1b87_3593);
      hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe654_6b64) | 0;
    }
    hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
    return hash ^ (hash >>> 16);
  }

  #lock(): void {
    const idle = this.#idle;
    const held = (idle + 1) | 0;
    if (idle !== NEVER && this.#words.compareExchange(this.#base + WRITES, idle, held) === idle)
      this.#held = held;
    else this.#lockSlowly();
  }

  #unlock(): void {
    const idle = (this.#held + 1) | 0;
    this.#idle = idle;
    this.#words.store(this.#base + WRITES, idle);
  }

  #lockSlowly(): void {
    const words = this.#words;
    const at = this.#base + WRITES;
    for (let looks = 0; looks < lockLooksMax; looks++) {
      const writes = words.load(at);
      const writer = words.load(this.#base + WRITER);
      const isIdle = (writes & 1) === 0;
      const isAsked = writer === this.#self || looks % lockLooksPerCheck === lockLooksPerCheck - 1;
      if (!isIdle && !(isAsked && this.#isGone(writer))) continue;
      const held = (isIdle ? writes + 1 : writes + 2) | 0;
      if (!words.compareExchangePair(at, writes, writer, held, this.#self)) continue;
      this.#held = held;
      if (!isIdle) this.#repair();
      return;
    }
    throw new FabricError("TIMED_OUT", "Cannot write to the map: another thread is writing", {
      looks: lockLooksMax,
    });
  }

  /** Whether a writer will never finish: it has exited, or is this thread, which was thrown out of a write. */
  #isGone(writer: number): boolean {
    if (writer === this.#self) return true;
    // The owner's nonce. Without its owner there is no fabric.
    if (writer === 0) return false;
    const { control } = this.#region.site;
    for (let entry = 1; entry < THREADS_MAX; entry++)
      if (isAttached(control, entry, writer)) return false;
    return true;
  }

  /**
   * Puts a dead writer's books in order (M4). What is reachable stays; every other node is free. Versions go up first:
   * a node may have left its bucket and nobody said so. Idempotent: whoever dies in here leaves it to the next.
   */
  #repair(): void {
    const plain = this.#plain;
    const reached = new Uint8Array(this.#nodes + 1);
    let count = 0;
    for (let index = 0; index <= this.#mask; index++) {
      const bucket = this.#base + BUCKETS + index * BUCKET_WORDS;
      this.#words.add(bucket + BUCKET_VERSION, 1);
      for (let node = plain[bucket] as number; node !== 0; count++) {
        const at = this.#nodeAt(node);
        if (at === 0 || reached[node] !== 0) throw damaged("a chain leads nowhere");
        reached[node] = 1;
        node = plain[at + NODE_NEXT] as number;
      }
    }
    let free = 0;
    for (let node = this.#nodes; node >= 1; node--) {
      if (reached[node] !== 0) continue;
      plain[this.#nodeAt(node) + NODE_NEXT] = free;
      free = node;
    }
    plain[this.#base + FREE] = free;
    plain[this.#base + USED] = this.#nodes;
    plain[this.#base + COUNT] = count;
    this.#words.add(this.#base + REPAIRS, 1);
  }

  #overtaken(): FabricError {
    return new FabricError(
      "TIMED_OUT",
      "Cannot read from the map: the entry was replaced under each try",
      { tries: readTriesMax },
    );
  }
}
