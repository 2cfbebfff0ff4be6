/** A fabric whose time is what a test says, and short words for what tests ask most. */
import {
  bufferMemoryProvider,
  isFabricError,
  type FabricError,
  type FabricErrorCode,
  type FabricOptions,
  type MemoryProvider,
} from "@selvage/fabric";
import { Fabric } from "@selvage/node";

/** When every fabric of a test is opened. */
export const START_MS = 1_800_000_000_000;

/** Opens a fabric that is ticked by hand: small, on the language's memories, unless told otherwise. */
export function openManual(
  options: FabricOptions = {},
  memory: MemoryProvider = bufferMemoryProvider,
): Fabric {
  return Fabric.open(
    { memoryBytes: 65_536, blocks: 64, maxLeases: 64, tick: "manual", ...options },
    { clock: { nowMs: () => START_MS }, memory },
  );
}

/** The code that `run` throws, or undefined when it returns; fails on what is no fabric error. */
export function codeIfThrown(run: () => unknown): FabricErrorCode | undefined {
  try {
    run();
    return undefined;
  } catch (thrown) {
    if (isFabricError(thrown)) return thrown.code;
    throw new Error("expected a FabricError", { cause: thrown });
  }
}

/** The code that `run` throws; fails if it returns. */
export function codeOf(run: () => unknown): FabricErrorCode {
  const code = codeIfThrown(run);
  if (code === undefined) throw new Error("expected a FabricError, nothing was thrown");
  return code;
}

/** The fabric error that a promise rejects with; fails on any other outcome. */
export async function rejectionOf(promise: Promise<unknown>): Promise<FabricError> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (reason: unknown) => ({ reason }),
  );
  if ("reason" in outcome && isFabricError(outcome.reason)) return outcome.reason;
  throw new Error("expected a FabricError", { cause: outcome });
}
