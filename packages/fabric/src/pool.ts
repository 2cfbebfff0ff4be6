/** Where leases of one kind get their bytes, and how those become zero again. */
import { FabricError } from "./errors.ts";
import type { LeaseParts } from "./lease-handle.ts";
import type { Ledger } from "./ledger.ts";
import type { Tenant } from "./tenant.ts";

/**
 * Memory or blocks, leased as `L`. A piece goes by a number that its pool made up: a grant allocates the lease's
 * handle and its record, and nothing else.
 */
export interface Pool<L> {
  readonly kind: "mem" | "block";
  readonly ledger: Ledger;
  /** True where leases outlive their process: they take the fabric's reserved slots. */
  readonly isDurable?: boolean;
  /** Hears that a lease has ended, before its piece is wiped. */
  ended?(lease: { readonly slot: number; readonly generation: number }, terminal: number): void;
  /** What a piece of at least `bytes` takes: `bytes`, rounded up. */
  roundUp(bytes: number): number;
  /** Takes a piece of `roundUp(bytes)`. @throws FabricError `CAPACITY_EXCEEDED` with `largestFreeBytes`. */
  allocate(tenant: Tenant, bytes: number): number;
  /** Makes the handle of a lease over a piece. */
  lease(parts: LeaseParts, tenant: Tenant, piece: number): L;
  /** Zeroes a piece, of the lease in `slot`; a promise where the device is slow. A failure fences the piece. */
  wipe(tenant: Tenant, piece: number, bytes: number, slot: number): void | Promise<void>;
  /** Gives a wiped piece back. */
  free(tenant: Tenant, piece: number, bytes: number): void;
  /** The largest piece that `tenant` could take now; for a tenant unseen so far, its quota. */
  largestFreeBytes(tenant: Tenant | undefined): number;
}

/** The refusal that every pool gives: never a wait without a bound. */
export function refuse(
  kind: "mem" | "block",
  tenant: Tenant,
  requestedBytes: number,
  largestFreeBytes: number,
  quota: "capacity" | "quota" | "fragmented",
): FabricError {
  const what = kind === "mem" ? "memory" : "block";
  return new FabricError(
    "CAPACITY_EXCEEDED",
    `Cannot grant ${requestedBytes} bytes of ${what} to tenant "${tenant.name}" (${quota}): ` +
      `the largest lease that fits now has ${largestFreeBytes} bytes`,
    { kind, tenant: tenant.name, requestedBytes, largestFreeBytes, limit: quota },
  );
}
