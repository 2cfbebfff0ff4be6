/** Invariants of the lease table and of reclaim by quiescence (A3, A5, L4), as explorations of the code that ships. */
import {
  ControlPlane,
  isFabricError,
  regionOf,
  type ControlHandle,
  type LeaseMoment,
  type MemoryHandle,
  type MemTicket,
} from "@selvage/fabric";
import type { Exploration } from "./explore.ts";
import type { Host, Outcome, SteppedThread, ThreadOutcome } from "./execution.ts";
import { attachExplored, EXPLORED_START_MS, openExplored } from "./explored-fabric.ts";
import type { Explorable } from "./ring-properties.ts";

/** One granted lease, and the table that it stands in. */
interface Table {
  readonly handle: MemoryHandle;
  readonly fabric: ControlHandle;
  readonly slot: number;
  readonly generation: number;
  readonly deadlineMs: number;
}

/** What may happen to a lease, by any thread. */
export type LeaseAct = "renew" | "release" | "expire" | "revoke" | "warn";

const ttlMs = 1_000;
/** States as `lease-word.ts` numbers them. */
const [FREE, ACTIVE, WARNED, EXPIRED, RELEASED, REVOKED] = [0, 1, 2, 3, 4, 5] as const;
const stateOfAct = { expire: EXPIRED, release: RELEASED, revoke: REVOKED } as const;

function tableSetUp(memory: Parameters<Exploration<Table>["setUp"]>[0]): Table {
  const fabric = openExplored(memory, { memoryBytes: 128 });
  const lease = fabric.mem().minBytes(64).leaseMs(ttlMs).acquire();
  const { slot, generation, expiresAtMs: deadlineMs } = lease;
  const handle = fabric.control.memory.handle as MemoryHandle;
  return { handle, fabric: fabric.control.handle, slot, generation, deadlineMs };
}

function controlOf({ handle, fabric }: Table, host: Host): ControlPlane {
  return new ControlPlane(host.memory.attach(handle, ControlPlane.bytesFor(fabric.slots)), fabric);
}

// True where the act was done, as its caller is told.
function doAct(control: ControlPlane, act: LeaseAct, table: Table): boolean {
  const { slot, generation, deadlineMs } = table;
  switch (act) {
    case "renew":
      return control.renew(slot, generation, deadlineMs - 1, deadlineMs + ttlMs) === "renewed";
    case "release":
      return control.release(slot, generation) >= 0;
    case "expire":
      return control.end(slot, generation, EXPIRED, deadlineMs);
    case "revoke":
      return control.end(slot, generation, REVOKED);
    case "warn":
      return control.warn(slot, generation, deadlineMs - ttlMs / 2);
  }
}

/**
 * L4, A5: whatever threads do to one lease at once, it ends in one way, and exactly one of them is told that it ended it;
 * a renewal that was told so came before, and never after, an end.
 */
export function leaseRace(acts: readonly LeaseAct[]): Explorable {
  const threads: SteppedThread<Table>[] = acts.map((act) => (table, host) => {
    const control = controlOf(table, host);
    return () => doAct(control, act, table);
  });
  const check = ({ threads: outcomes, host, shared }: Outcome<Table>): string | undefined => {
    const done = acts.filter((_, index) => outcomes[index]?.result === true);
    const ends = done.filter((act) => act in stateOfAct) as (keyof typeof stateOfAct)[];
    if (ends.length > 1) return `A5: ended twice, by ${ends.join(" and ")}`;
    const [end] = ends;
    const { state, generation, deadlineMs } = controlOf(shared, host).moment(shared.slot);
    if (generation !== shared.generation) return "A5: another generation";
    const isWarned = done.includes("warn");
    const expected = end === undefined ? (isWarned ? WARNED : ACTIVE) : stateOfAct[end];
    if (state !== expected) return `A5: state ${state} after ${done.join(", ") || "nothing"}`;
    const isRenewed = done.includes("renew");
    if (end === "expire" && isRenewed && !isWarned) return "L4: expired, though it was renewed";
    const renewedMs = shared.deadlineMs + (isRenewed ? ttlMs : 0);
    const wantedMs = isWarned ? shared.deadlineMs - ttlMs / 2 : renewedMs;
    return deadlineMs === wantedMs
      ? undefined
      : `L4: the deadline is ${deadlineMs - wantedMs} ms off`;
  };
  return explorable(tableSetUp, threads, check);
}

const nextId = Int32Array.of(1, 2, 3, 4);
/** When the slot's next lease ends: sooner than a renewal of the first one would have it. */
const grantedMs = EXPLORED_START_MS + 1.5 * ttlMs;

/** The owner: ends the lease, frees its slot, and grants it again. */
const regranter: SteppedThread<Table> = (table, host) => {
  const control = controlOf(table, host);
  return () => {
    const { slot, generation } = table;
    const isOurs = control.end(slot, generation, REVOKED);
    control.free(slot, isOurs ? REVOKED : RELEASED);
    control.grant(slot, generation + 1, grantedMs, nextId, 0);
    return isOurs;
  };
};

/**
 * A5: acts that come late, for a lease that has ended, never touch the one that has its slot by then.
 */
export function lateActs(acts: readonly LeaseAct[]): Explorable {
  const others: SteppedThread<Table>[] = acts.map((act) => (table, host) => {
    const control = controlOf(table, host);
    return () => doAct(control, act, table);
  });
  const check = ({ host, shared }: Outcome<Table>): string | undefined => {
    const control = controlOf(shared, host);
    const { state, generation, deadlineMs } = control.moment(shared.slot);
    const isWhole = state === ACTIVE && generation === shared.generation + 1;
    if (!isWhole || deadlineMs !== grantedMs || !control.hasId(shared.slot, nextId))
      return `A5: state ${state}, generation ${generation}, deadline ${deadlineMs - grantedMs} ms off`;
    return undefined;
  };
  return explorable(tableSetUp, [regranter, ...others], check);
}

const momentReader: SteppedThread<Table> = (table, host) => {
  const control = controlOf(table, host);
  return () => control.moment(table.slot);
};

/** W1: a moment that a thread reads is one that the lease had, however the others move it meanwhile. */
export function momentRead(acts: readonly LeaseAct[]): Explorable {
  const others: SteppedThread<Table>[] = acts.map((act) => (table, host) => {
    const control = controlOf(table, host);
    return () => doAct(control, act, table);
  });
  const check = ({ threads, shared }: Outcome<Table>): string | undefined => {
    const { result } = threads[0] as ThreadOutcome;
    const { state, deadlineMs } = result as LeaseMoment;
    const lateMs = deadlineMs - shared.deadlineMs;
    const isWhole =
      state === WARNED
        ? lateMs === -ttlMs / 2
        : state === ACTIVE && (lateMs === 0 || lateMs === ttlMs);
    return isWhole ? undefined : `L4: torn: state ${state}, deadline ${lateMs} ms off`;
  };
  return explorable(tableSetUp, [momentReader, ...others], check);
}

function checkGranted({ threads, shared }: Outcome<Table>): string | undefined {
  const { generation, state, deadlineMs } = (threads[0] as ThreadOutcome).result as LeaseMoment;
  const isNew = generation !== shared.generation;
  // A slot that is free has no deadline.
  const wantedMs = isNew ? grantedMs : shared.deadlineMs;
  if (state === FREE || deadlineMs === wantedMs) return undefined;
  return `L4: torn: generation ${generation}, deadline ${deadlineMs - wantedMs} ms off`;
}

/** L4: whoever reads a slot while it is granted again reads the old lease, or the new one whole. */
export function momentOfGrant(): Explorable {
  return explorable(tableSetUp, [momentReader, regranter], checkGranted);
}

/** The fabric's clock, raised by several threads to several times: it never goes back, and ends at the latest. */
export function clockRace(raises: readonly (readonly number[])[]): Explorable {
  const threads: SteppedThread<Table>[] = raises.map((times) => (table, host) => {
    const control = controlOf(table, host);
    return () =>
      times.map((ms) => control.advanceClock(EXPLORED_START_MS + ms) - EXPLORED_START_MS);
  });
  const check = ({ threads: outcomes, host, shared }: Outcome<Table>): string | undefined => {
    const latest = Math.max(...raises.flat());
    for (const [index, { result }] of outcomes.entries()) {
      const seen = result as readonly number[];
      const isRising = seen.every((ms, at) => ms >= (seen[at - 1] ?? 0));
      const isRaised = seen.every(
        (ms, at) => ms >= (raises[index]?.[at] as number) && ms <= latest,
      );
      if (!isRising || !isRaised) return `clock: thread ${index} saw ${seen.join()}`;
    }
    const nowMs = controlOf(shared, host).nowMs() - EXPLORED_START_MS;
    return nowMs === latest ? undefined : `clock: ${nowMs} in the end`;
  };
  return explorable(tableSetUp, threads, check);
}

const leaseBytes = 64;
const [oldByte, newByte, lateByte] = [7, 9, 8];

const reclaimer: SteppedThread<undefined> = (_, host) => {
  const fabric = openExplored(host.memory, { memoryBytes: leaseBytes });
  const first = fabric.mem().minBytes(leaseBytes).leaseMs(ttlMs).acquire();
  first.write(0, new Uint8Array(leaseBytes).fill(oldByte));
  host.board.set("ticket", first.ticket());
  return () => {
    first.release();
    for (let look = 0; look < 2; look++) {
      fabric.tick(EXPLORED_START_MS);
      if (fabric.stats().memory.freeBytes < leaseBytes) continue;
      const second = fabric.mem().minBytes(leaseBytes).leaseMs(ttlMs).acquire();
      second.write(0, Uint8Array.of(newByte));
      host.note("leased again");
      return second.read(0, 1)[0];
    }
    return undefined;
  };
};

function checkReclaim({ threads, host }: Outcome<undefined>): string | undefined {
  const [one, other] = threads as [ThreadOutcome, ThreadOutcome];
  if (![undefined, oldByte, lateByte].includes(other.result as number | undefined))
    return `A3: read ${String(other.result)} of the next holder's`;
  if (one.notes.length === 0) return undefined;
  const { arena, arenaBytes } = host.board.get("ticket") as MemTicket;
  const { words } = host.memory.attach(arena as MemoryHandle, arenaBytes);
  const byte = words.load(0) & 0xff;
  return one.result === newByte && byte === newByte
    ? undefined
    : `A3: the next holder read ${String(one.result)}, there is ${byte}`;
}

/**
 * A3, Q1 to Q3: once the owner has reclaimed a lease's bytes and leased them again, no thread that had the old lease
 * reads or writes them. Thread 0 owns the fabric, thread 1 uses the lease; with `attachesLate` it attaches meanwhile.
 */
export function reclaim(attachesLate: boolean): Explorable {
  const user: SteppedThread<undefined> = (_, host) => {
    const ticket = host.board.get("ticket") as MemTicket;
    const early = attachesLate ? undefined : attachExplored(host, ticket);
    return () => {
      let found: number | undefined;
      try {
        const held = early ?? attachExplored(host, ticket);
        for (let turn = 0; turn < 2; turn++) {
          found = held.read(0, 1)[0];
          if (found !== oldByte && found !== lateByte) return found;
          held.write(0, Uint8Array.of(lateByte));
          // What a thread says at each turn of its event loop.
          regionOf(held).site.pulse.announce();
        }
      } catch (thrown) {
        if (!isFabricError(thrown)) throw thrown;
      }
      return found;
    };
  };
  return explorable(() => undefined, [reclaimer, user], checkReclaim);
}

function explorable<S>(
  setUp: Exploration<S>["setUp"],
  threads: readonly SteppedThread<S>[],
  check: NonNullable<Exploration<S>["check"]>,
): Explorable {
  return { setUp, threads, check, plainReads: "weak" } as unknown as Explorable;
}
