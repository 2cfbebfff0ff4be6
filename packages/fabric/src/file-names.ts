/**
 * How a file comes to be, on any host: under another name first, so that after any crash it is there with all that it must
 * hold, or not at all.
 *
 * Invariant J5: its bytes are durable before it gets its name, and its name is durable before anybody writes to it. No name
 * that leads to a file is ever written through.
 */

/** Names of files, as a host gives them, and what making a file takes. Errors are the host's own. */
export interface FileNames {
  /** Whether the name leads to a file. */
  exists(path: string): boolean;
  /** Makes a file, readable by its owner only, with these bytes. Throws if the name leads anywhere. */
  write(path: string, bytes: Uint8Array): void;
  /** Returns once the file's bytes survive a crash. */
  sync(path: string): void;
  /** Takes a name away, if it is there. */
  remove(path: string): void;
  /** Gives a file another name, in one step; whatever had that name has none any more. */
  rename(from: string, to: string): void;
  /** Returns once the names in the folder of `path` survive a crash. */
  syncFolder(path: string): void;
}

/**
 * Sees to it that there is a file under a name, for ever: makes it with what `image` gives where there is none (J5). Called
 * by whoever has the right to write it, alone. Costs one sync of the folder; a new file one of its own besides. For those
 * who write a host's `disk` port. @throws what `names` and `image` throw; then the file is there whole, or is not.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { ensureFile } from "@selvage/fabric";
 *
 * const files = new Map<string, Uint8Array>();
 * const done: string[] = [];
 * ensureFile(
 *   {
 *     exists: (path) => files.has(path),
 *     write: (path, bytes) => void files.set(path, bytes),
 *     sync: (path) => void done.push(`sync ${path}`),
 *     remove: (path) => void files.delete(path),
 *     rename: (from, to) => {
 *       done.push(`rename ${from}`);
 *       files.set(to, files.get(from)!);
 *       files.delete(from);
 *     },
 *     syncFolder: () => void done.push("sync the folder"),
 *   },
 *   "blocks",
 *   () => Uint8Array.of(1),
 * );
 * assert.deepEqual(done, ["sync blocks.new", "rename blocks.new", "sync the folder"]);
 * assert.deepEqual([...files.keys()], ["blocks"]);
 * ```
 */
export function ensureFile(names: FileNames, path: string, image: () => Uint8Array): void {
  if (!names.exists(path)) {
    const draft = `${path}.new`;
    const bytes = image();
    // One that was left by a crash, or a link that somebody put there: never written through.
    names.remove(draft);
    try {
      names.write(draft, bytes);
      names.sync(draft);
    } catch (thrown) {
      names.remove(draft);
      throw thrown;
    }
    names.rename(draft, path);
  }
  // Each time: whoever made it may have failed to.
  names.syncFolder(path);
}
