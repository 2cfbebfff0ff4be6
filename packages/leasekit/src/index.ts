/**
 * Keeping leases, granting them to other machines, and trying again.
 *
 * @packageDocumentation
 */
export { HeldLease } from "./held-lease.ts";
export type { HeldLeaseOptions, HeldLeasePorts, LeaseEnd } from "./held-lease.ts";
export { LeaseAuthority } from "./lease-authority.ts";
export type { AuthorityOptions, AuthorityPorts } from "./lease-authority.ts";
export { HolderClock } from "./lease-clocks.ts";
export type {
  GrantRequest,
  LeaseGrant,
  LeaseName,
  LeaseReading,
  LeaseStore,
} from "./lease-store.ts";
export { LeaseScope } from "./lease-scope.ts";
export type { Membership } from "./lease-scope.ts";
export { RenewalDesk } from "./renewal-desk.ts";
export type { DeskEntry, DeskReading, DeskState } from "./renewal-desk.ts";
export { RenewalManager, STALL_MS_DEFAULT } from "./renewal-manager.ts";
export type { Hold, HoldOptions, RenewalOptions, RenewalSummary } from "./renewal-manager.ts";
export { RENEWAL_DEFAULTS, RenewalPolicy } from "./renewal-policy.ts";
export type { RenewalFigures } from "./renewal-policy.ts";
export {
  randomFraction,
  resolveRetryPolicy,
  RETRY_DEFAULTS,
  retryDelayMs,
} from "./retry-policy.ts";
export type { RetryPolicy } from "./retry-policy.ts";
export type {
  CommittedOutput,
  NamedData,
  RunningTask,
  TaskHost,
  TaskReply,
  TaskRequest,
  TaskRunner,
  TicketedAllocation,
  TicketedInput,
} from "./task-runner.ts";
