/** Fault plans that come from outside: from a file, or from a hand that mistypes. */
import { invalidArgument } from "@selvage/fabric";
import { FAULT_KINDS, type Fault, type FaultKind, type FaultPlan } from "./faults.ts";

/** What a field must be: in words, and whether a value is. */
interface Field {
  readonly expected: string;
  readonly isMet: (value: unknown) => boolean;
  /** It names a node of the run. */
  readonly isNode?: true;
}

function numberFrom(least: number, most: number = Number.MAX_SAFE_INTEGER): Field {
  const expected =
    most === Number.MAX_SAFE_INTEGER
      ? `a number from ${least} up`
      : `a number from ${least} to ${most}`;
  return {
    expected,
    isMet: (value) => typeof value === "number" && value >= least && value <= most,
  };
}

function wholeFrom(least: number): Field {
  const isMet = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= least;
  return { expected: `a whole number from ${least} up`, isMet };
}

function oneOf(...texts: readonly string[]): Field {
  const isMet = (value: unknown): boolean => texts.includes(value as string);
  return { expected: `one of ${texts.join(", ")}`, isMet };
}

const text: Field = {
  expected: "a name",
  isMet: (value) => typeof value === "string" && value !== "",
};
const node: Field = { ...text, expected: "the name of a node", isNode: true };
const forMs = numberFrom(0);
// Times are drawn from up to so many; in microseconds, 32 bits hold no more.
const drawnMs = numberFrom(0, 4_000_000);
const in1000 = numberFrom(0, 1_000);
const times = wholeFrom(1);

const fieldsOf: Readonly<Record<FaultKind, Readonly<Record<string, Field>>>> = {
  crash: { node, loses: oneOf("memory", "unsynced"), forMs },
  pause: { node, forMs, order: oneOf("timers-first", "io-first") },
  suspend: { node, forMs },
  cut: { from: node, to: node, forMs, mode: oneOf("drop", "queue") },
  isolate: { node, forMs, direction: oneOf("in", "out", "both") },
  loss: { in1000, forMs },
  doubling: { in1000, forMs },
  delay: { in1000, lateMs: drawnMs, forMs },
  clockStep: { node, byMs: numberFrom(-Number.MAX_SAFE_INTEGER) },
  // At a million millionths slow it would stand still.
  clockDrift: { node, ppm: numberFrom(-999_999), forMs },
  clockFreeze: { node, forMs },
  diskSlow: { node, slowMs: drawnMs, forMs },
  diskFull: { node, forMs },
  shortIo: { node, forMs },
  syncError: { node, times },
  ioError: { node, times },
  syncLie: { node, forMs },
  bitFlip: { node },
  misdirect: { node },
};

const atTime = { atMs: numberFrom(0) };
const atOccurrence = { on: text, nth: wholeFrom(1), plus: wholeFrom(0) };

/**
 * A fault plan, from a value of which nothing is known: what `JSON.parse` gave, for instance. Gives the value itself. Fields
 * that a fault does not have are let be. Costs a look at each field.
 * @param nodes - the names of the nodes that faults may name; default: any.
 * @throws FabricError `INVALID_ARGUMENT`: it is no plan. The message says which fault, by its place from 0, and what of it.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { parsePlan } from "@selvage/sim";
 *
 * const text = '[{ "kind": "pawse", "node": "a", "forMs": 900, "at": { "atMs": 100 } }]';
 * assert.throws(() => parsePlan(JSON.parse(text)), /plan\[0\]\.kind: expected one of crash, pause/);
 * ```
 */
export function parsePlan(plan: unknown, nodes?: readonly string[]): FaultPlan {
  if (!Array.isArray(plan)) throw invalidArgument("plan", "a list of faults", plan);
  for (const [index, fault] of plan.entries()) checkFault(`plan[${index}]`, fault, nodes);
  return plan as readonly Fault[];
}

function checkFault(name: string, fault: unknown, nodes: readonly string[] | undefined): void {
  const { kind, at } = bagOf(name, "a fault", fault);
  if (!FAULT_KINDS.includes(kind as FaultKind))
    throw invalidArgument(`${name}.kind`, `one of ${FAULT_KINDS.join(", ")}`, kind);
  checkFields(name, fieldsOf[kind as FaultKind], fault as Bag, nodes);
  const moment = bagOf(`${name}.at`, "{ atMs } or { on, nth, plus }", at);
  checkFields(`${name}.at`, "on" in moment ? atOccurrence : atTime, moment, nodes);
}

type Bag = Readonly<Record<string, unknown>>;

function bagOf(name: string, expected: string, value: unknown): Bag {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalidArgument(name, expected, value);
  return value as Bag;
}

function checkFields(
  name: string,
  fields: Readonly<Record<string, Field>>,
  bag: Bag,
  nodes: readonly string[] | undefined,
): void {
  for (const [field, { expected, isMet, isNode }] of Object.entries(fields)) {
    const value = bag[field];
    if (!isMet(value)) throw invalidArgument(`${name}.${field}`, expected, value);
    if (isNode === true && nodes?.includes(value as string) === false)
      throw invalidArgument(`${name}.${field}`, `nodes among ${nodes.join(", ")}`, value);
  }
}
