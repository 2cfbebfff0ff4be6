import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Fabric, HandoffReader, type BlockTicket } from "selvage";
import { systemTimer } from "@selvage/node";
import { expect, it } from "vitest";

const program = fileURLToPath(new URL("./handoff-process.ts", import.meta.url));
const publications = 300;

it("H1: a reader in another process follows a stage on a block file while it publishes, to the last", async () => {
  const folder = mkdtempSync(join(tmpdir(), "selvage-handoff-"));
  const path = join(folder, "blocks");
  const child = spawn(
    process.execPath,
    [...process.execArgv, program, path, String(publications)],
    {
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  const exited = once(child, "exit");
  try {
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const first = (await lines.next()).value as string;
    const { ticket } = JSON.parse(first) as { ticket: BlockTicket };
    await using fabric = Fabric.open({ memoryBytes: 65_536, blockFile: path, blockAccess: "read" });
    const reader = new HandoffReader(await fabric.attachBlock(ticket));
    const seen: number[] = [];
    for await (const { stageId, generation, locator, recovered } of reader.watch({
      timer: systemTimer,
      periodMs: 1,
    })) {
      expect([stageId, locator, recovered]).toMatchObject([
        "parse",
        { kind: "block", numBlocks: generation },
        undefined,
      ]);
      seen.push(generation);
      if (generation === publications) break;
    }
    expect(seen).toEqual([...new Set(seen)].toSorted((a, b) => a - b));
    child.stdin.end();
    expect(await exited).toEqual([0, null]);
  } finally {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  }
});
