/** Modules of the user's that commands run. */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { FabricError } from "@selvage/fabric";

/** What a module exports. */
export type Exports = Readonly<Record<string, unknown>>;

/** Loads a module by its path. @throws FabricError `NOT_FOUND`; `INVALID_ARGUMENT`: it does not load. */
export async function loadModule(file: string): Promise<Exports> {
  const path = resolve(file);
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true)
    throw new FabricError("NOT_FOUND", `Cannot load ${file}: there is no such file`, { path });
  try {
    return (await import(pathToFileURL(path).href)) as Exports;
  } catch (cause) {
    const what = `Cannot load ${file}`;
    throw new FabricError("INVALID_ARGUMENT", what, { path, hint: hintOf(cause) }, { cause });
  }
}

function hintOf(cause: unknown): string {
  const { code } = (cause ?? {}) as { readonly code?: unknown };
  if (code === "ERR_MODULE_NOT_FOUND") return "install what it imports beside it";
  if (code === "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX")
    return "Node runs TypeScript whose types can be taken away: no enum, no namespace";
  return "`node FILE` shows where it throws";
}

/** A module that exports none of what a command looks for. */
export function exportsNone(file: string, what: string, hint: string): FabricError {
  return new FabricError("INVALID_ARGUMENT", `${file} exports no ${what}`, { path: file, hint });
}
