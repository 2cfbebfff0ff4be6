/**
 * Subjects that live in a process of their own: two that would share a heap, a timer queue or an address space say
 * nothing of each other. They take turns all the same, one message a turn.
 */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Subject, Turn } from "./harness.ts";

/** A subject that the program `file` serves by {@link serveTurns}; it gets `args` on its command line. */
export function childSubject(name: string, file: URL, args: readonly string[]): Subject {
  let child: ChildProcess | undefined;
  return {
    name,
    async turn(): Promise<Turn> {
      child ??= fork(fileURLToPath(file), args, {
        execArgv: ["--conditions=@selvage/source", "--expose-gc"],
      });
      const running = child;
      running.send("turn");
      // One of the two comes; the other's listener is taken back.
      const over = new AbortController();
      const { signal } = over;
      try {
        return await Promise.race([
          once(running, "message", { signal }).then(([message]) => message as Turn),
          once(running, "exit", { signal }).then(([code]) => {
            throw new Error(`${name}: its process exited with ${String(code)}`);
          }),
        ]);
      } finally {
        over.abort();
      }
    },
    close() {
      child?.disconnect();
    },
  };
}

/** The child's side: takes a turn for each message, until the parent hangs up. */
export function serveTurns(turn: () => Turn | Promise<Turn>): void {
  process.on("message", () => {
    void Promise.resolve(turn()).then((taken) => process.send?.(taken));
  });
  process.on("disconnect", () => process.exit());
}
