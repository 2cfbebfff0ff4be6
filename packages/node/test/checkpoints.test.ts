import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SqliteCheckpointStore } from "@selvage/node";
import { checkpointConformance } from "@selvage/pipeline";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "selvage-checkpoints-"));
let files = 0;
const newPath = (): string => join(folder, `${files++}.sqlite`);
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => void vi.restoreAllMocks());

const paths = new WeakMap<object, string>();
const open = async (path = newPath()): Promise<SqliteCheckpointStore> => {
  const store = new SqliteCheckpointStore(path);
  paths.set(store, path);
  return store;
};

describe("SqliteCheckpointStore", () => {
  const cases = checkpointConformance({
    open: () => open(),
    reopen: (store) => open(paths.get(store)),
  });
  it.each(cases.map((one) => [one.name, one] as const))("%s", async (_name, one) => {
    await expect(one.run()).resolves.toBeUndefined();
  });

  it("fails every call when it is closed, and takes nothing for an empty key", async () => {
    const store = await open();
    await store.write("a", Uint8Array.of(1), 0);
    store[Symbol.dispose]();
    store[Symbol.dispose]();
    for (const call of [
      () => store.read("a"),
      () => store.write("a", Uint8Array.of(2), 0),
      () => store.remove("a", 1),
    ])
      await expect(call()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });

  it("says what a file is that is no database, and that a Node has no SQLite", () => {
    const path = newPath();
    writeFileSync(path, "x".repeat(4_096));
    expect(() => new SqliteCheckpointStore(path)).toThrow(
      expect.objectContaining({ code: "CORRUPT_RECORD" }),
    );
    vi.spyOn(process, "getBuiltinModule").mockReturnValue(undefined);
    expect(() => new SqliteCheckpointStore(newPath())).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED" }),
    );
  });
});
