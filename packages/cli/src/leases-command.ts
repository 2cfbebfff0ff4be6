/** `selvage leases PATH`: who holds what of a block file, until when. */
import { readBlockFile, type BlockFileReading } from "@selvage/node";
import type { BlockLeaseReading } from "@selvage/fabric";
import type { Command } from "commander";
import type { Reply } from "./reply.ts";
import { JSON_OPTION, type Session } from "./session.ts";
import { formatBytes, formatMs, table, type Column } from "./table.ts";

/** Adds the command. */
export function addLeases(program: Command, session: Session): void {
  program
    .command("leases")
    .description("list the leases of a block file; only reads, also while a process writes it")
    .argument("<path>", "what `Fabric.open({ blockFile })` was given")
    .option(...JSON_OPTION)
    .action(session.telling(leases));
}

async function leases(path: string): Promise<Reply> {
  const reading = await readBlockFile(path);
  return {
    document: {
      ...reading,
      leases: reading.leases.map((lease) => ({ id: lease.leaseId, ...lease })),
    },
    text: textOf(reading),
  };
}

const columns: readonly Column[] = [
  "ID",
  "LABEL",
  "TENANT",
  { figure: "BYTES" },
  "STATE",
  { figure: "REMAINING" },
];

function textOf({ path, numBlocks, leases: all, damage }: BlockFileReading): string {
  const bytes = all.reduce((sum, lease) => sum + lease.bytes, 0);
  const lines = [
    table(columns, all.map(rowOf), "No leases."),
    `${all.length} leases hold ${formatBytes(bytes)} of ${formatBytes(numBlocks * 512)} in ${path}`,
  ];
  for (const { slot, kind } of damage) lines.push(`damaged: ${recordName(slot)} is ${kind}`);
  return lines.join("\n");
}

function rowOf(lease: BlockLeaseReading): readonly string[] {
  const { leaseId, label, tenant, bytes, state, remainingMs, isOver } = lease;
  const stands = isOver ? `${state}, not back yet` : state;
  return [leaseId, label, tenant, formatBytes(bytes), stands, isOver ? "-" : formatMs(remainingMs)];
}

/** A damaged record, as people know it. */
export function recordName(slot: number): string {
  return slot < 0 ? "a copy of the head" : `the record of lease slot ${slot}`;
}
