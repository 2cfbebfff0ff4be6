/**
 * This thread's way to the leases of other threads' fabrics, by ticket. A thread attaches to a fabric once, whatever
 * the number of tickets: it introduces itself to the owner, who then waits for it before reclaiming, and learns of
 * its exit.
 */
import { ControlPlane } from "./control-plane.ts";
import { FabricError } from "./errors.ts";
import type { LeaseSite } from "./lease-handle.ts";
import { isLiveState, stateName } from "./lease-word.ts";
import { MemLease } from "./mem-lease.ts";
import type { ArenaMemory, Clock, MemoryHandle, MemoryProvider, Random, Timer } from "./ports.ts";
import { ThreadPulse } from "./thread-registry.ts";
import { checkTicket, parseId, type FabricTicket, type MemTicket } from "./ticket.ts";

/** How threads of one process hear of each other. */
export interface Threads {
  /** This thread, as the host numbers it. */
  readonly threadId: number;
  /** The owner's side: hears of the threads that attach to `fabricId`, and of their exits by their nonces. */
  host(fabricId: string, onExit: (nonce: number) => void): ThreadHost;
  /**
   * The other side: tells the owner's thread that this one, known by `nonce`, attaches. When it returns, the exit of
   * this thread will be noticed. `onNudge` is called, at a loop turn, when the owner wants an announcement, and now
   * and then while this thread lives; `onGone` once the owner has closed the fabric, or exited.
   */
  introduce(
    ownerThread: number,
    fabricId: string,
    nonce: number,
    onNudge: () => void,
    onGone: () => void,
  ): void;
}

/** The owner's ear. */
export interface ThreadHost {
  /** Asks every attached thread to announce at its next loop turn. */
  nudge(): void;
  /**
   * A thread has attached with `nonce`. Where it has not introduced itself yet, it may have died before that was heard:
   * the host finds out, and tells of it like of any other exit. Called at every tick; cheap once the thread is known.
   */
  expect(nonce: number): void;
  close(): void;
}

/** What a thread needs to attach. */
export interface AttachmentPorts {
  readonly clock: Clock;
  readonly timer: Timer;
  readonly random: Random;
  readonly memory: MemoryProvider;
  readonly threads: Threads | undefined;
  /** Whether `with` on attached leases hands out private copies. */
  readonly guard?: boolean;
}

/** The fabrics that this thread has attached to. */
export class Attachments {
  readonly #ports: AttachmentPorts;
  readonly #sites = new Map<string, AttachedSite>();

  constructor(ports: AttachmentPorts) {
    this.#ports = ports;
  }

  /**
   * Attaches to the lease of a ticket.
   * @throws FabricError `INVALID_ARGUMENT` (no ticket), `NOT_FOUND` (no such lease), `LEASE_EXPIRED`, `REVOKED`,
   * `UNSUPPORTED` (a fabric that is not shared), `CAPACITY_EXCEEDED` (too many threads).
   */
  attachMem(ticket: MemTicket): MemLease {
    checkTicket(ticket, "mem");
    const site = this.attachThread(ticket);
    if (ticket.arena === undefined) throw notShared(ticket);
    const memory = site.arena(ticket.arena, ticket.arenaBytes);
    return attach(site, ticket, memory);
  }

  /**
   * Attaches this thread to a fabric, at the first call; gives its site there.
   * @throws FabricError `UNSUPPORTED`, `CAPACITY_EXCEEDED`.
   */
  attachThread(ticket: FabricTicket): AttachedSite {
    const { fabricId, slots } = ticket.fabric;
    const known = this.#sites.get(fabricId);
    if (known !== undefined) return known;
    if (ticket.control === undefined) throw notShared(ticket);
    const memory = this.#ports.memory.attach(ticket.control, ControlPlane.bytesFor(slots));
    const control = new ControlPlane(memory, ticket.fabric);
    const { ownerThread } = ticket;
    const pulse = this.#introduce(control, ownerThread);
    const site = new AttachedSite(control, pulse, ownerThread, this.#ports);
    this.#sites.set(fabricId, site);
    return site;
  }

  #introduce(control: ControlPlane, ownerThread: number): ThreadPulse {
    const nonces = new Int32Array(1);
    this.#ports.random.fill(nonces);
    const nonce = (nonces[0] as number) | 1;
    let pulse: ThreadPulse | undefined;
    // Introduced first: a thread that dies between the two steps leaves no entry that nobody watches.
    const { fabricId } = control.handle;
    this.#ports.threads?.introduce(
      ownerThread,
      fabricId,
      nonce,
      () => pulse?.announce(),
      // Its memories go with the handles that are still about.
      () => this.#sites.delete(fabricId),
    );
    pulse = ThreadPulse.attach(control, nonce);
    return pulse;
  }
}

function notShared(ticket: FabricTicket): FabricError {
  return new FabricError(
    "UNSUPPORTED",
    "Cannot attach from here: the fabric was opened with shared: false",
    { fabricId: ticket.fabric.fabricId },
  );
}

/** A thread that attached to another's fabric, as its lease handles see it. */
export class AttachedSite implements LeaseSite {
  readonly control: ControlPlane;
  readonly pulse: ThreadPulse;
  readonly ownerThread: number;
  readonly guard: boolean;
  readonly timer: Timer;
  readonly #clock: Clock;
  readonly #provider: MemoryProvider;
  readonly #arenas = new Map<object, ArenaMemory>();

  constructor(
    control: ControlPlane,
    pulse: ThreadPulse,
    ownerThread: number,
    ports: AttachmentPorts,
  ) {
    this.control = control;
    this.pulse = pulse;
    this.ownerThread = ownerThread;
    this.guard = ports.guard ?? control.handle.guard;
    this.timer = ports.timer;
    this.#clock = ports.clock;
    this.#provider = ports.memory;
  }

  /** An arena of the fabric, reached once. */
  arena(handle: MemoryHandle, byteLength: number): ArenaMemory {
    // A handle is cloned with every message, its buffer is not: the buffer says which memory it is.
    const key = handle instanceof SharedArrayBuffer ? handle : handle.buffer;
    const known = this.#arenas.get(key);
    if (known !== undefined) return known;
    const memory = this.#provider.attach(handle, byteLength);
    this.#arenas.set(key, memory);
    return memory;
  }

  nowMs(): number {
    const clockMs = this.control.nowMs();
    return this.control.handle.manual
      ? clockMs
      : Math.max(Math.floor(this.#clock.nowMs()), clockMs);
  }

  attend(slot: number): void {
    this.control.callAttention(slot);
  }

  released(slot: number): void {
    this.control.callAttention(slot);
  }

  pin(): void {
    this.pulse.depth++;
  }

  unpin(): void {
    this.pulse.depth--;
  }

  // A loan lasts across loop turns. Were it to keep this thread from announcing, every teardown of the fabric would
  // wait for it; so the owner, who gave the lease to this thread, pins this one lease instead.
  pinForLoan(): void {}

  unpinForLoan(): void {}

  named(): void {}

  ticketed(): void {}
}

/** Makes a handle for a ticket's lease, if it stands. */
export function attach(site: LeaseSite, ticket: MemTicket, memory: ArenaMemory): MemLease {
  const { slot, generation, leaseId } = ticket;
  const ids = parseId(leaseId);
  const { control } = site;
  if (slot >= control.handle.slots) throw endedOrUnknown(control, ticket);
  const moment = control.moment(slot);
  const isHere = moment.generation === generation && control.hasId(slot, ids);
  if (!isHere || !isLiveState(moment.state) || moment.deadlineMs <= control.nowMs())
    throw endedOrUnknown(control, ticket);
  const { tenant, label, bytes, offset } = ticket;
  const expiresAtMs = moment.deadlineMs;
  const parts = { site, slot, generation, ids, idAt: 0, tenant, label, bytes, expiresAtMs };
  return new MemLease(parts, memory, offset);
}

/** Why a ticket reaches nothing: its lease has ended, or there is none. */
export function endedOrUnknown(
  control: ControlPlane,
  ticket: { readonly slot: number; readonly generation: number; readonly leaseId: string },
): FabricError {
  const { slot, generation, leaseId } = ticket;
  const isKnown = slot < control.handle.slots && control.hasId(slot, parseId(leaseId));
  const end = isKnown ? control.endOf(slot, generation) : undefined;
  const { generation: current } = isKnown ? control.moment(slot) : { generation: -1 };
  if (end === undefined && current !== generation)
    return new FabricError("NOT_FOUND", "Cannot attach: no such lease, or it ended long ago", {
      leaseId,
      generation,
    });
  const state = (end === undefined ? undefined : stateName(end)) ?? "expired";
  const code = state === "revoked" ? "REVOKED" : "LEASE_EXPIRED";
  return new FabricError(code, `Cannot attach: the lease has ended (${state})`, {
    leaseId,
    generation,
    state,
  });
}
