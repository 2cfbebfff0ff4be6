/**
 * One side of the check benchmark, in a process of its own, because one code that serves several classes is compiled
 * for none of them: `check-worker.ts <checked | unchecked | array> <ops>`.
 */
import { LeaseHandle } from "@selvage/fabric";
import { Fabric, nodeMemoryProvider } from "@selvage/node";
import { serveTurns } from "./children.ts";
import { timed } from "./harness.ts";

const LEASE_BYTES = 65_536;
const COPY_BYTES = 64;
const OFFSETS = LEASE_BYTES / COPY_BYTES;

interface Bytes {
  read(offset: number, length: number): Uint8Array;
  readInto(offset: number, target: Uint8Array): void;
  write(offset: number, bytes: Uint8Array): void;
}

function leased(): Bytes {
  const fabric = Fabric.open({ memoryBytes: 2 * LEASE_BYTES, blocks: 0 });
  return fabric.mem().minBytes(LEASE_BYTES).leaseSecs(86_400).acquire();
}

/** The same code without its checks. */
function unchecked(): Bytes {
  Object.assign(LeaseHandle.prototype, { check(): void {} });
  return leased();
}

/** What programs without leases write, over the same kind of memory. */
function array(): Bytes {
  const { bytes } = nodeMemoryProvider.reserve(LEASE_BYTES, { shared: true });
  return {
    read: (offset, length) => bytes.slice(offset, offset + length),
    readInto: (offset, target) => target.set(bytes.subarray(offset, offset + target.length)),
    write: (offset, source) => bytes.set(source, offset),
  };
}

function main([side, opsText]: readonly string[]): void {
  const bytes = side === "checked" ? leased() : side === "unchecked" ? unchecked() : array();
  const ops = Number(opsText);
  const source = Uint8Array.from({ length: COPY_BYTES }, (_, index) => index);
  const target = new Uint8Array(COPY_BYTES);
  for (let offset = 0; offset < LEASE_BYTES; offset += COPY_BYTES) bytes.write(offset, source);
  const write = (count: number): number => {
    for (let op = 0; op < count; op++) {
      source[5] = op;
      bytes.write((op % OFFSETS) * COPY_BYTES, source);
    }
    return bytes.read(((count - 1) % OFFSETS) * COPY_BYTES, COPY_BYTES)[5] as number;
  };
  const read = (count: number): number => {
    let sum = 0;
    for (let op = 0; op < count; op++)
      sum += bytes.read((op % OFFSETS) * COPY_BYTES, COPY_BYTES)[5] as number;
    return sum;
  };
  const readInto = (count: number): number => {
    let sum = 0;
    for (let op = 0; op < count; op++) {
      bytes.readInto((op % OFFSETS) * COPY_BYTES, target);
      sum += target[5] as number;
    }
    return sum;
  };
  serveTurns(() => ({
    write: timed(ops, write),
    readInto: timed(ops, readInto),
    read: timed(ops, read),
  }));
}

main(process.argv.slice(2));
