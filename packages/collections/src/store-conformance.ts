/** What the suites of store ports are made of. They import no test runner: a case that fails throws, and says why. */
import { describe, isFabricError, type FabricErrorCode } from "@selvage/fabric";

/** One behaviour of a store. */
export interface StoreConformanceCase {
  /** A sentence: what the store does. */
  readonly name: string;
  /** Rejects unless the store does it. */
  readonly run: () => Promise<void>;
}

/** Throws unless both spell the same in JSON, bytes as their numbers. */
export function expectSame(what: string, actual: unknown, expected: unknown): void {
  const came = spell(actual);
  const wanted = spell(expected);
  if (came !== wanted) throw new Error(`${what}: expected ${wanted}, got ${came}`);
}

/** Throws unless the promise rejects with a fabric error of that code. */
export async function expectCode(
  what: string,
  code: FabricErrorCode,
  answer: Promise<unknown>,
): Promise<void> {
  const came = await answer.then(
    (value) => `the answer ${describe(value)}`,
    (thrown: unknown) => (isFabricError(thrown) ? thrown.code : describe(thrown)),
  );
  if (came !== code) throw new Error(`${what}: expected ${code}, got ${came}`);
}

function spell(value: unknown): string {
  return JSON.stringify(value, bytesAsNumbers) ?? describe(value);
}

function bytesAsNumbers(_key: string, part: unknown): unknown {
  return part instanceof Uint8Array ? [...part] : part;
}
