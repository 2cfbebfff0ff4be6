/** One call of the command: where it writes, and how it ends. */
import { EXIT_CODES } from "./exit-codes.ts";
import { tell, type Reply, type Streams } from "./reply.ts";

/** What a command's handler gets beside its arguments, and where its reply goes. */
export class Session {
  readonly streams: Streams;
  /** Whether a document was asked for. */
  readonly json: boolean;
  exitCode: number = EXIT_CODES.ok;

  constructor(streams: Streams, json: boolean) {
    this.streams = streams;
    this.json = json;
  }

  /** An action for commander that tells the reply of `run`. */
  telling<Args extends unknown[]>(
    run: (...args: Args) => Reply | Promise<Reply>,
  ): (...args: Args) => Promise<void> {
    return async (...args) => {
      const reply = await run(...args);
      tell(reply, this.json, this.streams);
      this.exitCode = reply.exitCode ?? EXIT_CODES.ok;
    };
  }
}

/** The option that every command has. */
export const JSON_OPTION = ["--json", "print one JSON document, last on stdout"] as const;
