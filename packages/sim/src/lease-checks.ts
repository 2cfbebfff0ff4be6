/** Rules of leases over memory and blocks, and of what is kept in queues: nothing is lost, used late or seen twice. */
import { at, checkOf, keyOf, nameIn, numberIn, type Breach, type Check } from "./check.ts";
import type { Occurrence } from "./trace.ts";

const PARTS = ["leasedBytes", "freeBytes", "quarantinedBytes", "fencedBytes"] as const;

/**
 * A1: at each `fabric.stats`, leased + free + quarantined + fenced = capacity, and none is negative. E3, of items, at the end:
 * each that a queue accepted (`item.accepted`) was delivered, is still queued or is dead (`item.delivered`, `item.queued`,
 * `item.dead`), exactly once; and nothing else was. An item whose offer nobody answered is `item.offered`: it may be
 * there once, or not at all.
 */
export function conservation(): Check {
  return checkOf("conservation", (breach) => {
    const items = itemBooks(breach);
    return {
      on: {
        "fabric.stats": (occurrence) => {
          const parts = PARTS.map((part) => numberIn(occurrence, part));
          const capacity = numberIn(occurrence, "capacityBytes");
          const sum = parts.reduce((total, part) => total + part, 0);
          if (sum === capacity && parts.every((part) => part >= 0)) return;
          const shown = PARTS.map((part, index) => `${part} ${parts[index]}`).join(" + ");
          breach(`${shown} is ${sum}, of capacityBytes ${capacity}`, occurrence);
        },
        ...items.on,
      },
      end: items.end,
    };
  });
}

interface ItemBook {
  isAccepted: boolean;
  readonly places: string[];
  last: Occurrence;
}

function itemBooks(breach: Breach): {
  readonly on: Record<string, (occurrence: Occurrence) => void>;
  readonly end: () => void;
} {
  const books = new Map<string, ItemBook>();
  const bookOf = (occurrence: Occurrence): ItemBook => {
    const key = keyOf(occurrence, "queue", "id");
    const book = at(books, key, () => ({ isAccepted: false, places: [], last: occurrence }));
    book.last = occurrence;
    return book;
  };
  const found = (occurrence: Occurrence): void => {
    const known = books.size;
    const { places } = bookOf(occurrence);
    places.push(occurrence.kind.slice("item.".length));
    if (books.size > known)
      breach(`${itemOf(occurrence)} is ${places[0]}, but nobody offered it`, occurrence);
    if (places.length > 1)
      breach(`${itemOf(occurrence)} is there twice: ${places.join(" and ")}`, occurrence);
  };
  return {
    on: {
      "item.offered": (occurrence) => void bookOf(occurrence),
      "item.accepted": (occurrence) => void (bookOf(occurrence).isAccepted = true),
      "item.delivered": found,
      "item.queued": found,
      "item.dead": found,
    },
    end: () => {
      for (const { isAccepted, places, last } of books.values())
        if (isAccepted && places.length === 0)
          breach(`${itemOf(last)} was accepted and is lost: not delivered, queued or dead`, last);
    },
  };
}

function itemOf(occurrence: Occurrence): string {
  return `item ${nameIn(occurrence, "id")} of queue ${nameIn(occurrence, "queue")}`;
}

const ENDS = ["lease.released", "lease.expired", "lease.revoked"] as const;

/**
 * A lease (id and generation) is granted once, ends once, as released, expired or revoked, is not renewed or warned after
 * that, and only then is its room reclaimed or fenced: reclaimed once, and not while it is fenced (A1, A5).
 */
export function singleTerminalState(): Check {
  return checkOf("singleTerminalState", (breach) => {
    const leases = new Map<string, { ended?: string; isFenced: boolean; isReclaimed: boolean }>();
    const leaseOf = (occurrence: Occurrence) =>
      leases.get(leaseKey(occurrence)) ??
      breach(`${occurrence.kind} of a lease that was never granted`, occurrence);
    const granted = (occurrence: Occurrence): void => {
      const key = leaseKey(occurrence);
      if (leases.has(key)) breach("the same lease and generation was granted twice", occurrence);
      leases.set(key, { isFenced: false, isReclaimed: false });
    };
    const kept = (occurrence: Occurrence): void => {
      const { ended } = leaseOf(occurrence);
      if (ended !== undefined) breach(`${occurrence.kind} after ${ended}`, occurrence);
    };
    const end = (occurrence: Occurrence): void => {
      kept(occurrence);
      leaseOf(occurrence).ended = occurrence.kind;
    };
    const tornDown = (occurrence: Occurrence): void => {
      const lease = leaseOf(occurrence);
      if (lease.ended === undefined) breach(`${occurrence.kind} of a lease that lives`, occurrence);
      if (lease.isReclaimed) breach(`${occurrence.kind} after lease.reclaimed`, occurrence);
      if (occurrence.kind === "lease.reclaimed" && lease.isFenced)
        breach("lease.reclaimed while fenced", occurrence);
      lease.isReclaimed = occurrence.kind === "lease.reclaimed";
      lease.isFenced = occurrence.kind === "lease.fenced";
    };
    return {
      on: {
        "lease.granted": granted,
        "lease.renewed": kept,
        "lease.warned": kept,
        ...Object.fromEntries(ENDS.map((kind) => [kind, end])),
        "lease.reclaimed": tornDown,
        "lease.fenced": tornDown,
        "lease.unfenced": tornDown,
      },
    };
  });
}

/** A3: no `lease.used` once the lease (id and generation) was released, expired or revoked. */
export function noEffectAfterExpiry(): Check {
  return checkOf("noEffectAfterExpiry", (breach) => {
    const ended = new Map<string, Occurrence>();
    const end = (occurrence: Occurrence): void => {
      at(ended, leaseKey(occurrence), () => occurrence);
    };
    return {
      on: {
        ...Object.fromEntries(ENDS.map((kind) => [kind, end])),
        "lease.used": (occurrence) => {
          const last = ended.get(leaseKey(occurrence));
          if (last !== undefined)
            breach(`used by ${occurrence.node} after ${last.kind} at ${last.atMs} ms`, occurrence);
        },
      },
    };
  });
}

/** A2: what a holder first reads (`lease.first-read`) has no byte that is not zero (`nonZero`: how many). */
export function zeroed(): Check {
  return checkOf("zeroed", (breach) => ({
    on: {
      "lease.first-read": (occurrence) => {
        const nonZero = numberIn(occurrence, "nonZero");
        if (nonZero !== 0) breach(`a new lease holds ${nonZero} bytes of another's`, occurrence);
      },
    },
  }));
}

function leaseKey(occurrence: Occurrence): string {
  return keyOf(occurrence, "lease", "generation");
}
