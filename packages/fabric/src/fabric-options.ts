/** What a fabric is opened with. */
import { invalidArgument } from "./errors.ts";
import { GRANULE_BYTES } from "./memory-pool.ts";
import type { BlockAccess } from "./ports.ts";
import type { Quota } from "./tenant.ts";

/** Options of `Fabric.open`. */
export interface FabricOptions {
  /** Memory to lease, in bytes; rounded down to a multiple of 64. Default 256 MiB. Untouched memory costs nothing. */
  readonly memoryBytes?: number;
  /** Blocks of 512 bytes to lease. Default 65,536 (32 MiB). */
  readonly blocks?: number;
  /**
   * A file that holds the blocks and their leases, which then outlive this process. Made if it is not there. `blocks` may be
   * left out for a file that is there, and must be the file's otherwise.
   */
  readonly blockFile?: string;
  /** `"write"`: as the file's one writer. `"read"`: attach and read beside it, and nothing else. Default `"write"`. */
  readonly blockAccess?: BlockAccess;
  /** Most leases at a time in a new block file, at most one a block; 1 KiB each. Default 1,024. */
  readonly blockLeases?: number;
  /** Whether threads share the memory. False puts it on plain ArrayBuffers; tickets then serve this thread only. */
  readonly shared?: boolean;
  /** Hands out private copies from `with`, and poisons reclaimed bytes: for tests. Default false. */
  readonly guard?: boolean;
  /** `"auto"`: the fabric ticks by itself. `"manual"`: time stands still until `tick(nowMs)`. Default `"auto"`. */
  readonly tick?: "auto" | "manual";
  /** How often an automatic tick runs, in milliseconds. Default 10. */
  readonly tickMs?: number;
  /** Most leases at a time. Default 1,048,576; 64 bytes each once used. */
  readonly maxLeases?: number;
  /** How long a live thread may stay silent before ended leases that wait for it are fenced. Default 30,000. */
  readonly fenceAfterMs?: number;
  /** Quotas by tenant. A tenant without one is bounded by the fabric's capacity. */
  readonly tenants?: Readonly<Record<string, Quota>>;
}

/** {@link FabricOptions} with the defaults filled in. */
export type ResolvedOptions = Required<Omit<FabricOptions, "blockFile">> & {
  readonly blockFile: string | undefined;
};

/** The defaults of {@link FabricOptions}. */
export const FABRIC_DEFAULTS: ResolvedOptions = Object.freeze({
  memoryBytes: 256 * 1024 * 1024,
  blocks: 65_536,
  blockFile: undefined,
  blockAccess: "write",
  blockLeases: 1_024,
  shared: true,
  guard: false,
  tick: "auto",
  tickMs: 10,
  maxLeases: 1_048_576,
  fenceAfterMs: 30_000,
  tenants: {},
});

/** Fills in the defaults and checks. @throws FabricError `INVALID_ARGUMENT`. */
export function resolveOptions(options: FabricOptions): ResolvedOptions {
  checkObject("options", options);
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(FABRIC_DEFAULTS, name))
      throw invalidArgument("options", `one of ${Object.keys(FABRIC_DEFAULTS).join(", ")}`, name);
  }
  const resolved: ResolvedOptions = { ...FABRIC_DEFAULTS, ...defined(options) };
  checkCount("memoryBytes", resolved.memoryBytes, GRANULE_BYTES, 2 ** 40);
  checkCount("blocks", resolved.blocks, 0, 2 ** 26);
  checkBlockFile(resolved);
  checkCount("maxLeases", resolved.maxLeases, 1, 2 ** 25);
  checkCount("tickMs", resolved.tickMs, 1, 60_000);
  checkCount("fenceAfterMs", resolved.fenceAfterMs, 1, 2 ** 40);
  checkFlag("shared", resolved.shared);
  checkFlag("guard", resolved.guard);
  if (resolved.tick !== "auto" && resolved.tick !== "manual")
    throw invalidArgument("tick", '"auto" or "manual"', resolved.tick);
  checkObject("tenants", resolved.tenants);
  for (const [name, quota] of Object.entries(resolved.tenants)) {
    checkObject(`tenants.${name}`, quota);
    for (const key of ["memoryBytes", "blocks", "leases"] as const) {
      const most = quota[key];
      if (most !== undefined) checkCount(`tenants.${name}.${key}`, most, 0, 2 ** 40);
    }
  }
  const memoryBytes = Math.floor(resolved.memoryBytes / GRANULE_BYTES) * GRANULE_BYTES;
  return { ...resolved, memoryBytes };
}

function checkBlockFile({ blockFile, blockAccess, blockLeases }: ResolvedOptions): void {
  if (blockFile !== undefined && (typeof blockFile !== "string" || blockFile === ""))
    throw invalidArgument("blockFile", "a path", blockFile);
  if (blockAccess !== "write" && blockAccess !== "read")
    throw invalidArgument("blockAccess", '"write" or "read"', blockAccess);
  if (blockAccess === "read" && blockFile === undefined)
    throw invalidArgument("blockAccess", '"write" where there is no blockFile', blockAccess);
  checkCount("blockLeases", blockLeases, 1, 65_536);
}

// An option given as undefined means its default, as an absent one does.
function defined(options: FabricOptions): FabricOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function checkObject(name: string, value: unknown): void {
  if (typeof value !== "object" || value === null) throw invalidArgument(name, "an object", value);
}

function checkCount(name: string, value: unknown, least: number, most: number): void {
  if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most)
    throw invalidArgument(name, `a whole number from ${least} to ${most}`, value);
}

function checkFlag(name: string, value: unknown): void {
  if (typeof value !== "boolean") throw invalidArgument(name, "true or false", value);
}
