/** The project's own explorations, by name: what its tests run small, and its campaigns large. */
import { explore, type ExploreMode, type ExploreSummary } from "./explore.ts";
import {
  clockRace,
  lateActs,
  leaseRace,
  momentOfGrant,
  momentRead,
  reclaim,
} from "./lease-properties.ts";
import { mapRead } from "./map-properties.ts";
import {
  claimRace,
  manyOrder,
  nearTheEnd,
  ringDeath,
  ringOrder,
  wakeForAnswer,
  wakeForItem,
  wakeForRoom,
  type Explorable,
} from "./ring-properties.ts";

/** One exploration that lacks its mode. */
export interface ExplorerProperty {
  /** The invariants' numbers, then in words. */
  readonly name: string;
  /** Whether an exhaustive exploration ends within some thousand schedules. */
  readonly isSmall: boolean;
  readonly make: () => Explorable;
}

/** Explores one property. Some 2,000 schedules a second. Errors as {@link explore}. */
export function exploreProperty(property: ExplorerProperty, mode: ExploreMode): ExploreSummary {
  return explore({ ...property.make(), mode });
}

const stride = 8;
const capacities = [1, 2, 3] as const;

function rings(): ExplorerProperty[] {
  return (["slots", "records"] as const).flatMap((kind) =>
    capacities.flatMap((capacity) => {
      const plan = { kind, capacity, stride };
      const ring = `a ring of ${capacity} ${kind}`;
      const ending = { ...plan, start: nearTheEnd(kind, capacity) };
      const list: ExplorerProperty[] = [
        of(`R1, R3: bytes through ${ring}`, () => ringOrder(plan, 3, 1)),
        of(`R1, R3: doubles through ${ring}`, () => ringOrder(plan, 3, 8), capacity === 3),
        of(`R1, R2: a producer dies at ${ring}`, () => ringDeath(plan, 2, 0)),
        of(`R1, R3: a consumer dies at ${ring}`, () => ringDeath(plan, 2, 1)),
      ];
      if (kind === "slots")
        list.push(of(`R3: past the last position of ${ring}`, () => ringOrder(ending, 3, 1)));
      return list;
    }),
  );
}

function claims(): ExplorerProperty[] {
  return (["slots", "records", "many"] as const).flatMap((kind) => {
    const plan = { kind, capacity: 2, stride };
    const isSmall = kind !== "many";
    return [
      of(`R4: a late commit to a ring of ${kind}`, () => claimRace(plan, false), isSmall),
      of(`R4: a torn claim on a ring of ${kind}`, () => claimRace(plan, true), false),
      of(`R6: waiting for an item of ${kind}`, () => wakeForItem(plan, 1), isSmall),
      of(`R6: waiting for room in ${kind}`, () => wakeForRoom({ ...plan, capacity: 1 }, 2), false),
    ];
  });
}

function batches(): ExplorerProperty[] {
  return (["slots", "records"] as const).map((kind) =>
    of(
      `R6: waiting for an answer, with the question held back, by ${kind}`,
      () => wakeForAnswer({ kind, capacity: 8, stride }, 1),
      false,
    ),
  );
}

function manyRings(): ExplorerProperty[] {
  return ([1, 2] as const).flatMap((capacity) => {
    const plan = { kind: "many", capacity, stride } as const;
    const ending = { ...plan, start: nearTheEnd("many", capacity) };
    const ring = `a ring of ${capacity} for many`;
    return [
      of(`R1: one to one through ${ring}`, () => manyOrder(plan, [1, 1], 3), false),
      of(`R1: two to one through ${ring}`, () => manyOrder(plan, [2, 1], capacity), false),
      of(`R1: one to two through ${ring}`, () => manyOrder(plan, [1, 2], 2), false),
      of(`R1, R3: past the last position of ${ring}`, () => manyOrder(ending, [1, 1], 3), false),
      of(`R1, R2: a producer dies at ${ring}`, () => manyOrder(plan, [1, 1], 2, [0]), false),
      of(`R1, R4: a consumer dies at ${ring}`, () => manyOrder(plan, [1, 1], 2, [1]), false),
      of(
        `R1, R4: one of three dies at ${ring}`,
        () => manyOrder(plan, [1, 2], 2, [0, 1, 2]),
        false,
      ),
    ];
  });
}

function leases(): ExplorerProperty[] {
  return [
    of("A5: release, expiry and revocation", () => leaseRace(["release", "expire", "revoke"])),
    of("L4: a renewal beside an expiry", () => leaseRace(["renew", "expire"])),
    of("L4: a renewal beside a revocation", () => leaseRace(["renew", "revoke"])),
    of("L4: a renewal, an expiry and a release", () => leaseRace(["renew", "expire", "release"])),
    of("L4: a warning, a renewal and a release", () => leaseRace(["warn", "renew", "release"])),
    of("A5: a renewal that comes late", () => lateActs(["renew"])),
    of("A5: a release that comes late", () => lateActs(["release"])),
    of("A5: an expiry that comes late", () => lateActs(["expire"])),
    of("A5: a revocation that comes late", () => lateActs(["revoke"])),
    of("A5: a warning that comes late", () => lateActs(["warn"])),
    of("A5: a renewal and a release that come late", () => lateActs(["renew", "release"]), false),
    of("L4: a moment is never torn", () => momentRead(["renew", "warn"])),
    of("L4: a moment is the old lease's or the new one's", () => momentOfGrant()),
    of("L4: the clock never goes back", () => clockRace([[5, 2 ** 32 + 3], [2 ** 32 + 1]])),
    of("A3, A5: bytes are reclaimed by quiescence", () => reclaim(false), false),
    of("A3, A5: a thread attaches while bytes are reclaimed", () => reclaim(true), false),
  ];
}

function maps(): ExplorerProperty[] {
  return [
    of("M3: a map is read beside its writer", () => mapRead(2, 1, false), false),
    of("M3, M4: a map's writer dies", () => mapRead(2, 1, true), false),
  ];
}

/** All of them. */
export const explorerProperties: readonly ExplorerProperty[] = [
  ...rings(),
  ...claims(),
  ...batches(),
  ...manyRings(),
  ...leases(),
  ...maps(),
];

function of(name: string, make: () => Explorable, isSmall: boolean = true): ExplorerProperty {
  return { name, isSmall, make };
}
