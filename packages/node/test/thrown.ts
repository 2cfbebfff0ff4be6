/** What a call threw. */
import { isFabricError, type FabricError, type FabricErrorCode } from "@selvage/fabric";

/** The fabric error that `run` throws; fails on any other outcome. */
export function thrownBy(run: () => unknown): FabricError {
  let result: unknown;
  try {
    result = run();
  } catch (thrown) {
    if (isFabricError(thrown)) return thrown;
    throw new Error("expected a FabricError", { cause: thrown });
  }
  throw new Error("expected a FabricError, nothing was thrown", { cause: result });
}

/** The code that `run` throws. */
export function codeOf(run: () => unknown): FabricErrorCode {
  return thrownBy(run).code;
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
