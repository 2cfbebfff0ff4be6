/** Plain values as text: equal texts exactly when the values are equal, whatever the order of their keys. */

/**
 * The text of a plain value, for a person too. Keys are sorted; numbers, bigints, strings, undefined, NaN and -0 are told
 * apart; bytes are told from lists. Cost: linear in the value. Not for cycles, functions or instances of classes.
 */
export function canonical(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value !== "object" || value === null)
    return Object.is(value, -0) ? "-0" : String(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (ArrayBuffer.isView(value)) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return `${value.constructor.name}<${bytes.join()}>`;
  }
  const entries = Object.entries(value).toSorted(([one], [two]) => (one < two ? -1 : 1));
  return `{${entries.map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`).join()}}`;
}

/** True when two plain values are equal. */
export function isSame(one: unknown, two: unknown): boolean {
  if (Object.is(one, two)) return true;
  const areObjects = typeof one === "object" && typeof two === "object";
  return areObjects && one !== null && two !== null && canonical(one) === canonical(two);
}
