/** What crosses a thread so that it can reach a lease: plain data for `postMessage`, as good as the lease itself. */
import type { ControlHandle } from "./control-plane.ts";
import { FabricError, invalidArgument } from "./errors.ts";
import type { MemoryHandle } from "./ports.ts";

/** Reaches a fabric from another thread of its process: plain data. Grants no lease by itself. */
export interface FabricTicket {
  readonly fabric: ControlHandle;
  /** The control memory; undefined when the fabric is not shared. */
  readonly control: MemoryHandle | undefined;
  /** Which thread owns the fabric, as the host numbers them. */
  readonly ownerThread: number;
}

/** Reaches a memory lease from another thread. Whoever has it can read and write until the lease ends. */
export interface MemTicket extends FabricTicket {
  readonly kind: "mem";
  /** Layout of this ticket. */
  readonly version: 1;
  /** The lease, as 32 hexadecimal digits. */
  readonly leaseId: string;
  /** Slot of the lease table, and its generation. */
  readonly slot: number;
  readonly generation: number;
  /** Where the bytes are in their arena. */
  readonly offset: number;
  readonly bytes: number;
  readonly tenant: string;
  readonly label: string;
  /** The arena; undefined when the fabric is not shared: then only its own thread attaches. */
  readonly arena: MemoryHandle | undefined;
  readonly arenaBytes: number;
}

/** Which lease, among those of a fabric. */
export interface LeaseAddress {
  /** 32 hexadecimal digits. */
  readonly leaseId: string;
  readonly slot: number;
  readonly generation: number;
}

/**
 * Reaches a block lease of the same fabric; of a block file, whoever has opened it, in whichever process. Plain JSON,
 * to be kept anywhere.
 */
export interface BlockTicket {
  readonly kind: "block";
  readonly version: 1;
  readonly leaseId: string;
  readonly slot: number;
  readonly generation: number;
  /** The fabric; or the block file. */
  readonly fabricId: string;
}

const digits = /^[0-9a-f]{32}$/;

// Two digits for each byte: a tenth of the cost of the language's own conversion, and every event names its lease.
const pairs: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  byte.toString(16).padStart(2, "0"),
);

/** Four words as 32 hexadecimal digits. */
export function formatId(id: Int32Array): string {
  let text = "";
  for (const word of id)
    for (let shift = 24; shift >= 0; shift -= 8) text += pairs[(word >>> shift) & 0xff] as string;
  return text;
}

/** Parses what {@link formatId} wrote. @throws FabricError `INVALID_ARGUMENT`. */
export function parseId(text: unknown, name: string = "leaseId"): Int32Array {
  if (typeof text !== "string" || !digits.test(text))
    throw invalidArgument(name, "32 hexadecimal digits", text);
  const id = new Int32Array(4);
  for (let word = 0; word < 4; word++)
    id[word] = Number.parseInt(text.slice(word * 8, word * 8 + 8), 16) | 0;
  return id;
}

/** Checks the shape of an address that came from outside. @throws FabricError `INVALID_ARGUMENT`. */
export function checkAddress<A extends LeaseAddress>(address: A): A {
  const { leaseId, slot, generation } = (address ?? {}) as Partial<LeaseAddress>;
  parseId(leaseId, "address.leaseId");
  if (!isCount(slot)) throw invalidArgument("address.slot", "a slot index", slot);
  if (!isCount(generation)) throw invalidArgument("address.generation", "a generation", generation);
  return address;
}

/** Checks the shape of a ticket that came from outside. @throws FabricError `INVALID_ARGUMENT`. */
export function checkTicket(ticket: unknown, kind: "mem" | "block"): void {
  if (typeof ticket !== "object" || ticket === null)
    throw invalidArgument("ticket", `a ${kind} ticket`, ticket);
  const { kind: came, version, slot, generation } = ticket as Record<string, unknown>;
  if (came !== (kind as string)) throw invalidArgument("ticket.kind", `"${kind}"`, came);
  if (version !== 1) throw invalidArgument("ticket.version", "1", version);
  if (!isCount(slot)) throw invalidArgument("ticket.slot", "a slot index", slot);
  if (!isCount(generation)) throw invalidArgument("ticket.generation", "a generation", generation);
  if (kind === "mem") checkRegion(ticket as Record<string, unknown>);
}

// Where the bytes are said to be: inside the arena, and the arena a memory, whatever else the ticket says.
/** The error of a block lease that is not here: its ticket names another fabric, or another block file than `storeId`. */
export function elsewhere({ fabricId }: BlockTicket, storeId: string | undefined): FabricError {
  return storeId === undefined
    ? new FabricError("UNSUPPORTED", "Cannot attach: the blocks belong to another fabric", {
        fabricId,
      })
    : new FabricError(
        "UNSUPPORTED",
        "Cannot attach: the ticket is of another block file. If it was of this one, that was lost, and a new one was made",
        { fabricId, storeId },
      );
}

function checkRegion(ticket: Record<string, unknown>): void {
  const { offset, bytes, arena, arenaBytes, control, fabric, ownerThread } = ticket;
  if (!isCount(arenaBytes)) throw invalidArgument("ticket.arenaBytes", "a size", arenaBytes);
  if (!isCount(offset) || !isCount(bytes) || offset + bytes > arenaBytes)
    throw invalidArgument(
      "ticket.offset",
      `bytes within 0..${arenaBytes}`,
      `${String(offset)} + ${String(bytes)}`,
    );
  if (!isCount(ownerThread)) throw invalidArgument("ticket.ownerThread", "a thread", ownerThread);
  for (const [name, handle] of Object.entries({ arena, control }))
    if (handle !== undefined && (typeof handle !== "object" || handle === null))
      throw invalidArgument(`ticket.${name}`, "a memory", handle);
  if (typeof fabric !== "object" || fabric === null)
    throw invalidArgument("ticket.fabric", "a fabric", fabric);
  const { fabricId, slots, baseMs } = fabric as Record<string, unknown>;
  parseId(fabricId, "ticket.fabric.fabricId");
  if (!isCount(slots)) throw invalidArgument("ticket.fabric.slots", "a number of slots", slots);
  if (!isCount(baseMs)) throw invalidArgument("ticket.fabric.baseMs", "a time", baseMs);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
