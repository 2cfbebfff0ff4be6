/** What the failover campaign holds its runs to, under the numbers of the invariants. */
import { check, type Check, type Occurrence } from "@selvage/sim";
import type { Sizes } from "./failover-run.ts";
import { as } from "./named.ts";

/** Of the campaign, in the order of {@link failoverChecks}. */
export const properties = [
  "L1: epochs of a resource strictly increase, and each has one holder",
  "L2: a grant is durable before anybody hears of it",
  "L3: a holder has stopped, by its own clock, before another is granted",
  "L3: no lease ends at the authority while its holder believes that it holds it",
  "L3: nobody acts on a lease once another was granted",
  "L4: what is over is not renewed, and a request that comes again gets what it got",
  "L5: a grant follows the end of the lease before it, however long it waited",
  "L6: no lease ends by time while a renewal that came in time waits to be read",
  "L7: no clock makes a holder act for longer than its lease's TTL lasts",
  "L7: no clock ends a lease before its TTL has passed since it was renewed",
  "E1: no sink applies an epoch older than one that it promised, whatever restarted",
  "E2: no effect before every sink has promised its epoch",
] as const;

/** The names of the liveness checks. */
export const liveness = "L8: once all is well each resource is held again, and worked with";

/** What two clocks may differ by before the one that is ahead is believed, and rounding, in milliseconds. */
const roundingMs = 7;

/** New checks, for one run. */
export function failoverChecks(): readonly Check[] {
  const [l1, l2, l3, l3ends, l3acts, l4, l5, l6, l7acts, l7ends, e1, e2] = properties;
  return [
    as(l1, check.epochsMonotone()),
    check.always(
      l2,
      ({ kind, details }) => kind !== "authority.granted" || details["isDurable"] === true,
    ),
    as(l3, check.holderStopsFirst()),
    check.always(
      l3ends,
      ({ kind, details }) => kind !== "authority.expired" || details["believers"] === 0,
    ),
    check.always(l3acts, nobodyActsLate()),
    check.always(l4, overIsOver()),
    check.always(l5, grantsFollowEnds()),
    check.always(
      l6,
      ({ kind, details }) => kind !== "authority.expired" || details["unread"] === 0,
    ),
    check.always(
      l7acts,
      ({ kind, details }) => kind !== "holder.acted" || (details["overMs"] as number) <= roundingMs,
    ),
    check.always(
      l7ends,
      ({ kind, details }) =>
        kind !== "authority.expired" || (details["earlyMs"] as number) <= roundingMs,
    ),
    as(e1, check.noStaleEffect()),
    as(e2, check.sealBeforeServe()),
  ];
}

/** Recovery: for each resource, in each run. */
export function failoverFinally({ resources }: Sizes): readonly Check[] {
  return resources.map((resource) =>
    check.eventually("sink.applied", 25_000, {
      where: ({ details }) => details["resource"] === resource,
      name: liveness,
    }),
  );
}

function nobodyActsLate(): (occurrence: Occurrence) => boolean {
  const granted = new Map<unknown, number>();
  return ({ kind, details }) => {
    const { resource, epoch } = details;
    if (kind === "authority.granted") granted.set(resource, epoch as number);
    return kind !== "holder.acted" || (granted.get(resource) ?? 0) <= (epoch as number);
  };
}

function overIsOver(): (occurrence: Occurrence) => boolean {
  const over = new Set<string>();
  const followed = new Set<string>();
  const last = new Map<unknown, { readonly epoch: unknown; readonly request: unknown }>();
  return ({ kind, details }) => {
    const { resource, epoch, request } = details;
    const key = JSON.stringify([resource, epoch]);
    // Whoever was followed by another has nothing to release.
    if (kind === "authority.released" && followed.has(key)) return false;
    if (kind === "authority.released" || kind === "authority.expired") over.add(key);
    if (kind === "authority.revoked") over.add(key);
    if (kind === "authority.granted") {
      const before = last.get(resource);
      if (before !== undefined) {
        over.add(JSON.stringify([resource, before.epoch]));
        followed.add(JSON.stringify([resource, before.epoch]));
      }
      last.set(resource, { epoch, request });
      return before?.request !== request;
    }
    return (kind !== "authority.renewed" && kind !== "authority.granted-again") || !over.has(key);
  };
}

// A crash may take the word of an end with it, and so may the authority's stopping; then nothing is asked.
function grantsFollowEnds(): (occurrence: Occurrence) => boolean {
  const open = new Map<unknown, unknown>();
  return ({ kind, details }) => {
    const { resource, epoch } = details;
    if (kind === "authority.released" || kind === "authority.expired")
      if (open.get(resource) === epoch) open.delete(resource);
    if (kind === "authority.opened" || kind === "authority.replaced") open.clear();
    if (kind !== "authority.granted") return true;
    const isFree = !open.has(resource);
    open.set(resource, epoch);
    return isFree;
  };
}
