/**
 * What MessagePack can say, asked before it is written. The library writes a Map as an empty map, an instance as the map
 * of its fields, a bigint without its upper bits: the loss would be found out by whoever decodes. And what the codec's
 * own budget would refuse to read is not written.
 */
import { FabricError, overBudget, type DecodeBudget } from "@selvage/fabric";
import { MARKED_BYTES_MAX } from "./msgpack-walk.ts";

const bigIntMin = -(2n ** 63n);
const bigIntMax = 2n ** 64n - 1n;

/** Counts what it has seen. */
interface Tally {
  elements: number;
  readonly most: Required<DecodeBudget>;
}

/** Passes values that come back as they are. @throws FabricError `ENCODE`. */
export function checkValue(value: unknown, most: Required<DecodeBudget>): void {
  if (value === undefined) throw refuse("undefined");
  check(value, { elements: 1, most }, 0);
}

function check(value: unknown, tally: Tally, depth: number): void {
  switch (typeof value) {
    case "number":
    case "boolean":
    case "undefined":
      return;
    case "string":
      checkText(value);
      return;
    case "bigint":
      if (value < bigIntMin || value > bigIntMax) throw refuse("a bigint of more than 64 bits");
      return;
    case "object":
      if (value !== null) checkObject(value, tally, depth);
      return;
    case "function":
    case "symbol":
      throw refuse(`a ${typeof value}`);
  }
}

function checkText(text: string): void {
  if (!text.isWellFormed()) throw refuse("a text with a lone surrogate");
  if (text.startsWith("\ufeff") && Buffer.byteLength(text) > MARKED_BYTES_MAX)
    throw refuse("a long text that begins with a byte order mark");
}

function checkObject(value: object, tally: Tally, depth: number): void {
  if (value instanceof Uint8Array) return;
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw refuse("an invalid Date");
    return;
  }
  const isArray = Array.isArray(value);
  if (!isArray && !isPlain(value)) throw refuse(`a ${nameOf(value)}`);
  // A cycle ends here, too.
  if (depth >= tally.most.depth)
    throw overBudget("ENCODE", "msgpack", {
      what: "depth",
      came: depth + 1,
      most: tally.most.depth,
    });
  if (isArray) {
    count(tally, value.length);
    for (const item of value as unknown[]) check(item, tally, depth + 1);
    return;
  }
  const fields = value as Readonly<Record<string, unknown>>;
  for (const key of Object.keys(fields)) {
    const part = fields[key];
    if (part === undefined) continue;
    if (key === "__proto__") throw refuse("a key of __proto__");
    checkText(key);
    count(tally, 2);
    check(part, tally, depth + 1);
  }
}

function count(tally: Tally, elements: number): void {
  tally.elements += elements;
  const { most } = tally;
  if (tally.elements > most.elements)
    throw overBudget("ENCODE", "msgpack", {
      what: "elements",
      came: tally.elements,
      most: most.elements,
    });
}

/** An object of a literal, of this realm or another, or one without a prototype. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function nameOf(value: object): string {
  const { constructor } = value as { constructor?: { name?: unknown } };
  return typeof constructor?.name === "string" ? constructor.name : "class instance";
}

function refuse(what: string): FabricError {
  return new FabricError("ENCODE", `Cannot encode: MessagePack has no form for ${what}`, {
    codec: "msgpack",
    what,
  });
}
