/** What explored threads need of a fabric: one to begin with, and each thread's own way to it. */
import {
  Attachments,
  Fabric,
  type Clock,
  type FabricOptions,
  type MemLease,
  type MemoryProvider,
  type MemTicket,
  type Random,
  type Timer,
} from "@selvage/fabric";
import type { Host } from "./execution.ts";

/** When explored fabrics are opened. */
export const EXPLORED_START_MS = 1_800_000_000_000;

const clock: Clock = { nowMs: () => EXPLORED_START_MS };
const timer: Timer = { after: () => () => {}, every: () => () => {} };

/** Ids that differ from each other, the same in every run. */
function counting(from: number): Random {
  let next = Math.imul(from + 1, 0x0100_0193);
  return {
    fill: (words) => {
      for (let index = 0; index < words.length; index++) words[index] = next += 2;
    },
  };
}

/** A small fabric whose time stands still, on memories of an exploration. */
export function openExplored(memory: MemoryProvider, options: FabricOptions): Fabric {
  const random = counting(1_000);
  return Fabric.open(
    { blocks: 0, maxLeases: 4, tick: "manual", ...options },
    { clock, timer, random, memory },
  );
}

/** Attaches a thread to a lease, as if it had got its ticket by a message. */
export function attachExplored(host: Host, ticket: MemTicket): MemLease {
  const { memory } = host;
  const random = counting(host.thread);
  const attachments = new Attachments({ clock, timer, random, memory, threads: undefined });
  return attachments.attachMem(ticket);
}
