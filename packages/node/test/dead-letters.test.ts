import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { deadLetterConformance } from "@selvage/collections";
import { DeadLetters, SqliteDeadLetterStore } from "@selvage/node";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "selvage-letters-"));
let files = 0;
const newPath = (): string => join(folder, `${files++}.sqlite`);
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => void vi.restoreAllMocks());

const paths = new WeakMap<object, string>();
const open = async (path = newPath()): Promise<SqliteDeadLetterStore> => {
  const store = new SqliteDeadLetterStore(path);
  paths.set(store, path);
  return store;
};
const cases = deadLetterConformance({
  open: () => open(),
  reopen: (store) => open(paths.get(store)),
});

describe("SqliteDeadLetterStore", () => {
  it.each(cases.map((one) => [one.name, one] as const))("%s", async (_name, one) => {
    await expect(one.run()).resolves.toBeUndefined();
  });

  it("is closed once: what comes after says so", async () => {
    const store = await open();
    store[Symbol.dispose]();
    store[Symbol.dispose]();
    await expect(store.newestId()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });

  it("says what a file is that is no database, and what a path is that leads nowhere", () => {
    const path = newPath();
    writeFileSync(path, "x".repeat(4_096));
    expect(() => new SqliteDeadLetterStore(path)).toThrow(
      expect.objectContaining({ code: "CORRUPT_RECORD" }),
    );
    expect(() => new SqliteDeadLetterStore(join(folder, "no", "such"))).toThrow(
      expect.objectContaining({ code: "STORE_UNAVAILABLE" }),
    );
    expect(() => new SqliteDeadLetterStore("")).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });

  it("says UNSUPPORTED on a Node without SQLite, when it is opened and not before", () => {
    vi.spyOn(process, "getBuiltinModule").mockReturnValue(undefined);
    expect(() => new SqliteDeadLetterStore(newPath())).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED" }),
    );
  });

  it("goes on after a process that was killed in the middle of a replay", async () => {
    const path = newPath();
    const letters = new DeadLetters(await open(path));
    for (let n = 0; n < 10; n++) await letters.send("a", Uint8Array.of(n), { error: "x" });
    const program = fileURLToPath(new URL("./dead-letters-process.ts", import.meta.url));
    const child = spawn(process.execPath, [...process.execArgv, program, path, "4"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let told = "";
    child.stdout.on("data", (text) => void (told += String(text)));
    await once(child.stdout, "close");
    expect(child.signalCode ?? (await once(child, "exit"))[1]).toBe("SIGKILL");
    expect(told.trim().split("\n")).toEqual(["0", "1", "2", "3", "4"]);

    const got: [number, number][] = [];
    letters.register("a", ([n], { replays }) => void got.push([n as number, replays]));
    // The fifth was under way when the process died: it comes again, and says so.
    expect(await letters.replay()).toBe(6);
    expect(got).toEqual([
      [4, 2],
      [5, 1],
      [6, 1],
      [7, 1],
      [8, 1],
      [9, 1],
    ]);
    expect(await letters.replay()).toBe(0);
  });
});
