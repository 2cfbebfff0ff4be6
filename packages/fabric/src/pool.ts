/** Where leases of one kind get their bytes, and how those become zero again. */
import { FabricError } from "./errors.ts";
import type { Ledger } from "./ledger.ts";
import type { Tenant } from "./tenant.ts";

/** A piece of a pool. */
export interface Piece {
  /** Bytes, rounded up. */
  readonly bytes: number;
}

/** Memory or blocks. `P` is what the pool knows of a piece. */
export interface Pool<P extends Piece> {
  readonly kind: "mem" | "block";
  readonly ledger: Ledger;
  /** Takes a piece of at least `bytes`. @throws FabricError `CAPACITY_EXCEEDED` with `largestFreeBytes`. */
  allocate(tenant: Tenant, bytes: number): P;
  /** Zeroes a piece; a promise where the device is slow. A failure fences the piece. */
  wipe(piece: P): void | Promise<void>;
  /** Gives a wiped piece back. */
  free(tenant: Tenant, piece: P): void;
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
