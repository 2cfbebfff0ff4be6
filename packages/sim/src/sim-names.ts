/**
 * The names of a disk's files, all in one folder. What has changed since the folder was synced is kept by a power cut or
 * lost, each change by itself; a rename is one change. A folder's sync that fails leaves them so: unlike a file's pages,
 * the file system itself tries again.
 */
import type { RandomStream } from "./random.ts";

interface NameChange<File> {
  readonly removed: string | undefined;
  readonly added: readonly [name: string, file: File] | undefined;
}

/** Names, as they are read, and as they would be after a power cut. */
export class SimNames<File> {
  #visible = new Map<string, File>();
  #durable = new Map<string, File>();
  #changes: NameChange<File>[] = [];

  get(path: string): File | undefined {
    return this.#visible.get(path);
  }

  /** All that have a name now. */
  entries(): readonly (readonly [string, File])[] {
    return [...this.#visible];
  }

  /** What the name leads to if the power fails and all that was not synced is lost. */
  durable(path: string): File | undefined {
    return this.#durable.get(path);
  }

  /** Everything that the name may lead to after a power cut. */
  outcomes(path: string): readonly (File | undefined)[] {
    const changed = this.#changes.flatMap(({ removed, added }) => {
      if (added?.[0] === path) return [added[1]];
      return removed === path ? [undefined] : [];
    });
    return [this.#durable.get(path), ...changed];
  }

  add(path: string, file: File): void {
    this.#change({ removed: undefined, added: [path, file] });
  }

  remove(path: string): void {
    if (this.#visible.has(path)) this.#change({ removed: path, added: undefined });
  }

  /** In one step. Nothing happens where `from` leads nowhere. */
  rename(from: string, to: string): void {
    const file = this.#visible.get(from);
    if (file !== undefined) this.#change({ removed: from, added: [to, file] });
  }

  /** Every name survives from now on. */
  sync(): void {
    this.#durable = new Map(this.#visible);
    this.#changes = [];
  }

  /** The power fails. */
  lose(random: RandomStream, tell: (kind: string) => void): void {
    for (const change of this.#changes) {
      if (random.chance(1, 2)) apply(this.#durable, change);
      else tell("disk.name-lost");
    }
    this.#changes = [];
    this.#visible = new Map(this.#durable);
  }

  #change(change: NameChange<File>): void {
    apply(this.#visible, change);
    this.#changes.push(change);
  }
}

function apply<File>(names: Map<string, File>, { removed, added }: NameChange<File>): void {
  if (removed !== undefined) names.delete(removed);
  if (added !== undefined) names.set(...added);
}
