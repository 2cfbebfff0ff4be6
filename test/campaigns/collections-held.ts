/** What the collections campaign holds its programs to, under the numbers of the invariants. */
export { a1, a5 } from "./named.ts";

export const a3 = "A3: use after reclaim throws, and none ends early";
export const d2 = "D2: a checkpoint holds the value of one moment, and its failure is told";
export const f1 = "F1: a guard's epoch never decreases";
export const f2 = "F2: a guard lets no older epoch pass";
export const h1 =
  "H1: a reader is never given an older generation, nor a locator that was not written";
export const j1 = "J1: what was acknowledged is recovered";
export const j2 = "J2: old or new, never mixed";
export const k3 = "K3: a store is as a plain map, and its keys expire in time";
export const k4 = "K4: one store at a time goes on";
export const l1 = "L1: generations strictly increase over restarts";
export const live = "R6: once all is well episodes end";
export const m3 = "M3: a map is as a plain map to whoever reads it";
export const m4 = "M4: a map's writer is thought dead only when it is";
export const p2 = "P2: a stale instance overwrites nothing newer";
export const r1 = "R1: a queue's output is a prefix of what was committed to it";
export const r2 = "R2: uncommitted bytes are never delivered";
export const r3 = "R3: no overwrite of unread, full and empty are told apart";
export const r4 = "R4: a claim left open is skipped, alone, and counted; a late commit fails";
export const r5 =
  "R5: whatever stands in a ring's or a map's bytes, nothing is read or written beyond its lease";
export const r6 = "R6: no lost wakeup";
export const r7 =
  "R7: a queue on an ended lease: both ends error, and the next tenant's bytes stay";
export const s1 = "S1: bad bytes and bad input get an answer or a typed error, in bounded time";
