/** What a run is given from outside: leases of the caller's, most often outputs that an earlier run kept. */
import { FabricError, fabricOf, invalidArgument, MemLease, type Fabric } from "@selvage/fabric";
import type { DataRef } from "./data-format.ts";
import type { LeasedData } from "./kept-outputs.ts";
import type { ShelvedOutput } from "./shelf-entry.ts";

/** The leases given for a run's inputs, by name. */
export type LeasedInputs = Readonly<Record<string, LeasedData>>;

/**
 * Matches what a plan is to be given with what the caller gave.
 * @throws FabricError `UNRESOLVED_REF` (an input that was not given), `INVALID_ARGUMENT` (one that the plan has not, not a
 * lease of this fabric), `CONFLICT` (of another format).
 */
export function matchInputs(
  refs: readonly DataRef[],
  given: LeasedInputs | undefined,
  fabric: Fabric | undefined,
): ShelvedOutput[] {
  if (given === undefined) return matchInputs(refs, {}, fabric);
  if (typeof given !== "object" || given === null)
    throw invalidArgument("inputs", "leases by name", given);
  const names = refs.map(({ name }) => name);
  for (const name of Object.keys(given))
    if (!names.includes(name))
      throw invalidArgument("inputs", `one of the plan's (${names.join(", ")})`, name);
  const missing = names.filter((name) => !Object.hasOwn(given, name));
  if (missing.length > 0)
    throw new FabricError("UNRESOLVED_REF", `The run was not given: ${missing.join(", ")}`, {
      refs: missing,
    });
  return refs.map((ref) => match(ref, given[ref.name] as LeasedData, fabric));
}

function match(ref: DataRef, given: LeasedData, fabric: Fabric | undefined): ShelvedOutput {
  const argument = `inputs.${ref.name}`;
  if (typeof given !== "object" || given === null || !(given.lease instanceof MemLease))
    throw invalidArgument(argument, "{ lease, format, bytes? }", given);
  const { lease, format, bytes = lease.bytes } = given;
  if (fabric === undefined || fabricOf(lease) !== fabric)
    throw invalidArgument(argument, "a lease that the run's own fabric granted here", lease.label);
  if (format !== ref.format)
    throw new FabricError(
      "CONFLICT",
      `The plan reads "${ref.name}" as ${ref.format}, but it was given as ${format}`,
      { kind: "format", names: [ref.name], wanted: ref.format, made: format },
    );
  if (!Number.isSafeInteger(bytes) || bytes < 0 || bytes > lease.bytes)
    throw invalidArgument(`${argument}.bytes`, `bytes within the lease's ${lease.bytes}`, bytes);
  return { ref, lease, bytes };
}
