/** Rules of authorities that grant resources with epochs, of their holders, and of the sinks that compare epochs. */
import { at, checkOf, keyOf, keyOfNames, nameIn, numberIn, type Check } from "./check.ts";
import type { Occurrence } from "./trace.ts";

/**
 * L1: the epochs that are granted of a resource strictly increase, whoever grants and whatever restarted; and an epoch has
 * one holder, wherever it shows: at the authority, in what holders believe and in what sinks apply.
 */
export function epochsMonotone(): Check {
  return checkOf("epochsMonotone", (breach) => {
    const highest = new Map<string, number>();
    const holders = new Map<string, string>();
    const seen = (occurrence: Occurrence): void => {
      const holder = nameIn(occurrence, "holder");
      const first = at(holders, keyOf(occurrence, "resource", "epoch"), () => holder);
      if (first !== holder)
        breach(`${grantOf(occurrence)} has two holders: ${first} and ${holder}`, occurrence);
    };
    return {
      on: {
        "authority.granted": (occurrence) => {
          const epoch = numberIn(occurrence, "epoch");
          const before = highest.get(nameIn(occurrence, "resource"));
          if (before !== undefined && epoch <= before)
            breach(`${grantOf(occurrence)} was granted after epoch ${before}`, occurrence);
          highest.set(nameIn(occurrence, "resource"), epoch);
          seen(occurrence);
        },
        "authority.renewed": seen,
        "holder.believes": seen,
        "sink.applied": seen,
      },
    };
  });
}

interface Belief {
  readonly holder: string;
  readonly epoch: number;
  readonly untilMs: number;
}

/** What {@link holderStopsFirst} allows. */
export interface HolderStopsFirstOptions {
  /** True: after `authority.revoked` the next grant need not wait for the holder, as sinks fence it off. Default false. */
  readonly revokedMayOverlap?: boolean;
}

/**
 * L3: when a resource is granted, no other holder still believes that it holds it (`holder.believes` with `untilMs`, in world
 * time, up to `holder.stopped`), and none begins to afterwards with an older epoch. A holder may be granted again what it
 * holds. Say `holder.stopped` when a holder crashes.
 */
export function holderStopsFirst(options: HolderStopsFirstOptions = {}): Check {
  return checkOf("holderStopsFirst", (breach) => {
    const beliefs = new Map<string, Map<string, Belief>>();
    const grants = new Map<string, { readonly holder: string; readonly epoch: number }>();
    const revoked = new Set<string>();
    const believersOf = (occurrence: Occurrence): Map<string, Belief> =>
      at(beliefs, nameIn(occurrence, "resource"), () => new Map());
    const mayOverlap = (resource: string, epoch: number): boolean =>
      revoked.has(keyOfNames(resource, String(epoch)));
    return {
      on: {
        "authority.granted": (occurrence) => {
          const resource = nameIn(occurrence, "resource");
          const holder = nameIn(occurrence, "holder");
          grants.set(resource, { holder, epoch: numberIn(occurrence, "epoch") });
          const believers = believersOf(occurrence);
          for (const [key, belief] of believers) {
            if (belief.untilMs <= occurrence.atMs) believers.delete(key);
            else if (belief.holder !== holder && !mayOverlap(resource, belief.epoch))
              breach(`${grantOf(occurrence)} went to ${holder} while ${shown(belief)}`, occurrence);
          }
        },
        "authority.revoked": (occurrence) => {
          if (options.revokedMayOverlap === true)
            revoked.add(keyOf(occurrence, "resource", "epoch"));
        },
        "holder.believes": (occurrence) => {
          const resource = nameIn(occurrence, "resource");
          const holder = nameIn(occurrence, "holder");
          const epoch = numberIn(occurrence, "epoch");
          const belief = { holder, epoch, untilMs: numberIn(occurrence, "untilMs") };
          believersOf(occurrence).set(keyOf(occurrence, "holder", "epoch"), belief);
          const grant = grants.get(resource);
          if (grant === undefined || grant.epoch <= epoch || grant.holder === holder) return;
          if (belief.untilMs <= occurrence.atMs || mayOverlap(resource, epoch)) return;
          breach(
            `${shown(belief)}, after ${grant.holder} was granted epoch ${grant.epoch}`,
            occurrence,
          );
        },
        "holder.stopped": (occurrence) => {
          const holder = nameIn(occurrence, "holder");
          const epoch = numberIn(occurrence, "epoch");
          const believers = believersOf(occurrence);
          // A late word about an epoch before does not end the one that is held now.
          for (const [key, belief] of believers)
            if (belief.holder === holder && belief.epoch <= epoch) believers.delete(key);
        },
      },
    };
  });
}

/**
 * E1: at each sink and resource no effect is applied with an epoch below one that was promised or applied there before, and no
 * promise is below an earlier one, whatever restarted.
 */
export function noStaleEffect(): Check {
  return checkOf("noStaleEffect", (breach) => {
    const floors = new Map<string, number>();
    const rise = (occurrence: Occurrence): void => {
      const key = keyOf(occurrence, "sink", "resource");
      const epoch = numberIn(occurrence, "epoch");
      const floor = floors.get(key) ?? epoch;
      if (epoch < floor) {
        const verb = occurrence.kind === "sink.applied" ? "applied an effect of" : "promised";
        const sink = nameIn(occurrence, "sink");
        breach(`sink ${sink} ${verb} ${grantOf(occurrence)} after epoch ${floor}`, occurrence);
      }
      floors.set(key, epoch);
    };
    return { on: { "sink.promised": rise, "sink.applied": rise } };
  });
}

/**
 * E2, seal before serve: an effect of an epoch is applied only once every sink that was declared for the resource
 * (`sink.declared`), and the one that applies it, has promised that epoch or a later one. A sink that is declared after
 * an epoch's first effect is asked for its promise when it applies.
 */
export function sealBeforeServe(): Check {
  return checkOf("sealBeforeServe", (breach) => {
    const declared = new Map<string, Set<string>>();
    const promised = new Map<string, number>();
    const served = new Set<string>();
    const promiseOf = (sink: string, resource: string): number =>
      promised.get(keyOfNames(sink, resource)) ?? -Infinity;
    return {
      on: {
        "sink.declared": (occurrence) => {
          const sinks = at(declared, nameIn(occurrence, "resource"), () => new Set<string>());
          sinks.add(nameIn(occurrence, "sink"));
        },
        "sink.promised": (occurrence) => {
          const key = keyOf(occurrence, "sink", "resource");
          const epoch = numberIn(occurrence, "epoch");
          promised.set(key, Math.max(epoch, promised.get(key) ?? epoch));
        },
        "sink.applied": (occurrence) => {
          const resource = nameIn(occurrence, "resource");
          const epoch = numberIn(occurrence, "epoch");
          const key = keyOf(occurrence, "resource", "epoch");
          const sinks = served.has(key) ? [] : (declared.get(resource) ?? []);
          served.add(key);
          for (const sink of new Set([nameIn(occurrence, "sink"), ...sinks])) {
            if (promiseOf(sink, resource) >= epoch) continue;
            const holder = nameIn(occurrence, "holder");
            breach(
              `${holder} serves ${grantOf(occurrence)}, which sink ${sink} has not promised`,
              occurrence,
            );
          }
        },
      },
    };
  });
}

function grantOf(occurrence: Occurrence): string {
  return `epoch ${nameIn(occurrence, "epoch")} of ${nameIn(occurrence, "resource")}`;
}

function shown({ holder, epoch, untilMs }: Belief): string {
  return `${holder} believes that it holds epoch ${epoch} until ${untilMs} ms`;
}
