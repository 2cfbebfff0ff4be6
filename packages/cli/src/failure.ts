/** How failures are told: `selvage: CODE: message`, and what can be done. */
import { isFabricError, toWire, type FabricError, type FabricErrorCode } from "@selvage/fabric";
import { CommanderError } from "commander";
import { EXIT_CODES } from "./exit-codes.ts";
import { tell, type Reply, type Streams } from "./reply.ts";
import { visible } from "./table.ts";

/** What to do, where the error itself has no `details.hint`. */
const hints: Readonly<Partial<Record<FabricErrorCode, string>>> = {
  CONFLICT: "another process has it; `selvage leases` and `selvage monitor` look without taking it",
  NOT_FOUND: "look at the path or the id once more",
  CORRUPT_RECORD: "`selvage doctor` says what of a file can be read",
  STORE_UNAVAILABLE: "look at the disk, its room and its rights; then run it again",
  UNSUPPORTED: "`selvage doctor` says what this machine lacks",
  CAPACITY_EXCEEDED: "ask for less, or give more room",
  TIMED_OUT: "run it again, or give it more time",
};

interface Told {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly details?: unknown;
}

/** Tells what went wrong, and gives the exit code. */
export function tellFailure(thrown: unknown, json: boolean, streams: Streams): number {
  if (thrown instanceof CommanderError && thrown.exitCode === 0) return EXIT_CODES.ok;
  const isUsage = thrown instanceof CommanderError;
  const told = isUsage ? toldOfUsage(thrown) : toldOf(thrown);
  const isHelp = isUsage && thrown.code === "commander.help";
  const lines = [`selvage: ${told.code}: ${told.message}`];
  if (told.hint !== undefined) lines.push(`  hint: ${told.hint}`);
  // Commander has shown the help by now.
  if (!isHelp) streams.stderr.write(`${lines.join("\n")}\n`);
  if (json) tell({ document: { error: told }, text: "" } satisfies Reply, true, streams);
  return isUsage ? EXIT_CODES.usage : EXIT_CODES.failed;
}

function toldOf(thrown: unknown): Told {
  if (!isFabricError(thrown)) {
    const { message, stack } = toWire(thrown);
    // Not foreseen: where it came from is all that helps.
    return { code: "UNEXPECTED", message: stack ?? message };
  }
  const { code, details } = thrown;
  const hint = details["hint"] ?? hints[code];
  return {
    code,
    message: visible(withCause(thrown)),
    ...(typeof hint === "string" && { hint }),
    details,
  };
}

// Where the cause says something that the message does not.
function withCause({ message, cause }: FabricError): string {
  if (cause === undefined) return message;
  const why = toWire(cause).message;
  return message.includes(why) ? message : `${message}: ${why}`;
}

// "error: unknown command 'jbos'\n(Did you mean jobs?)"
function toldOfUsage({ code, message }: CommanderError): Told {
  const isHelp = code === "commander.help";
  const [what = "", aside] = isHelp ? ["expected a command"] : message.split("\n");
  const hint = aside?.replace(/^\(D(id you mean .*\?)\)$/, "d$1") ?? "see `selvage --help`";
  return { code: "INVALID_ARGUMENT", message: what.replace(/^error: /, ""), hint };
}
