/** What a block file's table says about its leases at one moment, for whoever only looks: nothing is taken up or ended. */
import type { BlockTable } from "./block-table.ts";
import { EXPIRED, stateName, type LeaseState } from "./lease-word.ts";
import { BLOCK_BYTES } from "./ports.ts";
import { formatId } from "./ticket.ts";

/** A lease as a block file has it. */
export interface BlockLeaseReading {
  /** Its place in the file's table. */
  readonly slot: number;
  readonly leaseId: string;
  readonly generation: number;
  readonly tenant: string;
  readonly label: string;
  /** What it was granted, in bytes. */
  readonly bytes: number;
  /** `"expired"` as soon as its deadline has passed, also where nobody has written that down yet. */
  readonly state: LeaseState;
  /** Milliseconds since the Unix epoch. */
  readonly deadlineMs: number;
  /** Milliseconds until the deadline; 0 for a lease that is over. */
  readonly remainingMs: number;
  /** True when it is over and its bytes are not free yet: the file's writer gives them back, or the next one does. */
  readonly isOver: boolean;
}

/**
 * The leases that hold blocks at `nowMs` (milliseconds since the Unix epoch), by slot, as the table knew them when it was
 * read: the ones that stand, and the ones that are over and whose blocks are not free yet. Costs a look at each slot.
 */
export function readLeases(table: BlockTable, nowMs: number): readonly BlockLeaseReading[] {
  const readings: BlockLeaseReading[] = [];
  for (let slot = 0; slot < table.shape.slots; slot++) {
    const entry = table.entry(slot);
    if (entry === undefined || entry.phase === "free") continue;
    const isOver = entry.phase === "ending" || entry.deadlineMs <= nowMs;
    const end = entry.phase === "ending" ? entry.end : EXPIRED;
    const live = entry.isWarned ? "warned" : "active";
    readings.push({
      slot,
      leaseId: formatId(entry.id),
      generation: entry.generation,
      tenant: entry.tenant,
      label: entry.label,
      bytes: entry.count * BLOCK_BYTES,
      state: isOver ? (stateName(end) ?? "expired") : live,
      deadlineMs: entry.deadlineMs,
      remainingMs: isOver ? 0 : entry.deadlineMs - nowMs,
      isOver,
    });
  }
  return readings;
}
