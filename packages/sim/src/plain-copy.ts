/**
 * Copies of messages. Structured clone is what production sends by, and costs some microseconds however small the message
 * is; most messages are a few plain objects, which are copied here the same, faster.
 */
import { types } from "node:util";

/** Objects and lists of a message that is copied here. A message of more goes by structured clone. */
const objectsMax = 32;

/** What this does not copy: `structuredClone` decides. */
const unlike: unique symbol = Symbol("not plain");

/** As `structuredClone(value)`, errors too. */
export function plainCopy(value: unknown): unknown {
  const copy = copied(value, []);
  return copy === unlike ? structuredClone(value) : copy;
}

function copied(value: unknown, seen: object[]): unknown {
  if (typeof value !== "object" || value === null)
    return typeof value === "function" || typeof value === "symbol" ? unlike : value;
  // One object that a message has in two places is one object in the copy too, and a proxy is refused.
  if (seen.length === objectsMax || seen.includes(value) || types.isProxy(value)) return unlike;
  seen.push(value);
  if (Array.isArray(value)) return copiedList(value, seen);
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype ? copiedRecord(value, seen) : unlike;
}

function copiedList(list: readonly unknown[], seen: object[]): unknown {
  const copy: unknown[] = [];
  // Keys beside its items are properties of its own; items without a key are holes.
  if (Object.keys(list).length !== list.length) return unlike;
  for (const [index, item] of list.entries()) {
    if (item === undefined && !Object.hasOwn(list, index)) return unlike;
    const one = copied(item, seen);
    if (one === unlike) return unlike;
    copy.push(one);
  }
  return copy;
}

function copiedRecord(record: object, seen: object[]): unknown {
  const copy: Record<string, unknown> = {};
  for (const key of Object.keys(record)) {
    // As a key of its own it would be the copy's prototype.
    if (key === "__proto__") return unlike;
    const one = copied((record as Record<string, unknown>)[key], seen);
    if (one === unlike) return unlike;
    copy[key] = one;
  }
  return copy;
}
