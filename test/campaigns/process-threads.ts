/** Threads of a simulated process that come and go: each attaches to its fabrics by ticket, and the owner hears of its exit. */
import {
  Attachments,
  type MemLease,
  type MemTicket,
  type ThreadHost,
  type Threads,
} from "@selvage/fabric";
import type { SimNode } from "@selvage/sim";

/** One thread. Who exits must not be heard of again: it is its program that stops. */
export interface ProcessThread {
  attachMem(ticket: MemTicket): MemLease;
  exit(): void;
}

interface Introduced {
  readonly onNudge: () => void;
  readonly onGone: () => void;
}

interface Hosted {
  readonly introduced: Map<number, Introduced>;
  readonly onExit: (nonce: number) => void;
}

/** From an exit to its being heard of, in virtual microseconds. */
const exitUs = 2_000;

/** The threads of one incarnation. */
export class ProcessThreads {
  readonly #node: SimNode;
  readonly #hosts = new Map<string, Hosted>();
  #threads = 0;

  constructor(node: SimNode) {
    this.#node = node;
  }

  /** The port of the thread that opens fabrics. */
  get owner(): Threads {
    return this.#port(0, []);
  }

  spawn(): ProcessThread {
    const nonces: [fabricId: string, nonce: number][] = [];
    const { clock, timer, random, memory } = this.#node;
    const threads = this.#port(++this.#threads, nonces);
    const attachments = new Attachments({ clock, timer, random, memory, threads });
    const exit = (): void => {
      for (const [fabricId, nonce] of nonces) {
        const host = this.#hosts.get(fabricId);
        host?.introduced.delete(nonce);
        this.#node.after(exitUs, "exit", () => this.#hosts.get(fabricId)?.onExit(nonce));
      }
    };
    return { attachMem: (ticket) => attachments.attachMem(ticket), exit };
  }

  #port(threadId: number, nonces: [string, number][]): Threads {
    return {
      threadId,
      host: (fabricId, onExit) => this.#host(fabricId, onExit),
      introduce: (_owner, fabricId, nonce, onNudge, onGone) => {
        nonces.push([fabricId, nonce]);
        const host = this.#hosts.get(fabricId);
        if (host === undefined) onGone();
        else host.introduced.set(nonce, { onNudge, onGone });
      },
    };
  }

  #host(fabricId: string, onExit: (nonce: number) => void): ThreadHost {
    const introduced = new Map<number, Introduced>();
    this.#hosts.set(fabricId, { introduced, onExit });
    return {
      nudge: () => {
        for (const { onNudge } of introduced.values()) this.#node.after(50, "nudge", onNudge, true);
      },
      expect() {},
      close: () => {
        this.#hosts.delete(fabricId);
        for (const { onGone } of introduced.values()) onGone();
      },
    };
  }
}
