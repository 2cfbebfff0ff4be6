/** Questions and answers between simulated nodes, over messages that may be lost, late or doubled. */
import {
  FabricError,
  isFabricError,
  type ErrorDetails,
  type FabricErrorCode,
} from "@selvage/fabric";
import type { SimNode } from "@selvage/sim";

/** Answers a question of one kind. It may be asked twice: messages are doubled, and who hears nothing asks again. */
export type Answer = (body: never, from: string) => unknown;

interface Ask {
  readonly ask: string;
  readonly id: string;
  readonly body: unknown;
}

interface Reply {
  readonly reply: string;
  readonly value?: unknown;
  readonly error?: Refusal;
}

/** What of an error crosses: its stack would name lines of this machine's files, and be part of the trace. */
interface Refusal {
  readonly code: FabricErrorCode;
  readonly message: string;
  readonly details: ErrorDetails;
}

/** One node's side, for one incarnation. */
export class Rpc {
  readonly #node: SimNode;
  readonly #answers: Readonly<Record<string, Answer>>;
  readonly #open = new Map<string, (reply: Reply) => void>();
  readonly #label: string;
  #asked = 0;

  constructor(node: SimNode, answers: Readonly<Record<string, Answer>> = {}) {
    this.#node = node;
    this.#answers = answers;
    this.#label = `${node.name}.${node.incarnation}`;
    node.listen((from, message) => {
      const arrived = message as Ask | Reply;
      if ("reply" in arrived) this.#open.get(arrived.reply)?.(arrived);
      else void this.#answer(from, arrived);
    });
  }

  /** Answers, and asks nothing. */
  static serve(node: SimNode, answers: Readonly<Record<string, Answer>>): void {
    void new Rpc(node, answers);
  }

  /** Asks `to`. Rejects with what its answer threw, or `TIMED_OUT`. */
  call<T>(to: string, ask: string, body: unknown, timeoutMs: number): Promise<T> {
    const id = `${this.#label}.${++this.#asked}`;
    return new Promise((resolve, reject) => {
      const cancel = this.#node.timer.after(timeoutMs, () => {
        this.#open.delete(id);
        reject(new FabricError("TIMED_OUT", `Cannot ask ${to}: no answer`, { ask }));
      });
      this.#open.set(id, ({ value, error }) => {
        this.#open.delete(id);
        cancel();
        if (error === undefined) resolve(value as T);
        else reject(new FabricError(error.code, error.message, error.details));
      });
      this.#node.send(to, { ask, id, body });
    });
  }

  async #answer(from: string, { ask, id, body }: Ask): Promise<void> {
    try {
      const value = await this.#answers[ask]?.(body as never, from);
      this.#node.send(from, { reply: id, value });
    } catch (thrown) {
      if (!isFabricError(thrown)) throw thrown;
      const { code, message, details } = thrown;
      const error: Refusal = { code, message, details };
      this.#node.send(from, { reply: id, error });
    }
  }
}
