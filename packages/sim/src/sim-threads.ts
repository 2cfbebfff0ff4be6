/** Threads of a simulated process: they take turns on the one thread there is, and announce when they are nudged. */
import { Attachments, type ThreadHost, type Threads } from "@selvage/fabric";
import type { SimNode } from "./sim-node.ts";

interface Introduced {
  readonly onNudge: () => void;
  readonly onGone: () => void;
}

/** How the threads of one incarnation hear of each other. */
export class SimThreads {
  readonly #node: SimNode;
  readonly #hosts = new Map<string, Map<number, Introduced>>();
  #threads = 0;

  constructor(node: SimNode) {
    this.#node = node;
  }

  /** The port of the thread that owns fabrics. */
  get owner(): Threads {
    return this.#port(0);
  }

  /** What a thread of its own has attached to. */
  attachments(): Attachments {
    const { clock, timer, random, memory } = this.#node;
    const threads = this.#port(++this.#threads);
    return new Attachments({ clock, timer, random, memory, threads });
  }

  #port(threadId: number): Threads {
    return {
      threadId,
      host: (fabricId) => this.#host(fabricId),
      introduce: (_owner, fabricId, nonce, onNudge, onGone) => {
        const introduced = this.#hosts.get(fabricId);
        if (introduced === undefined) onGone();
        else introduced.set(nonce, { onNudge, onGone });
      },
    };
  }

  #host(fabricId: string): ThreadHost {
    const introduced = new Map<number, Introduced>();
    this.#hosts.set(fabricId, introduced);
    return {
      nudge: () => {
        // At a turn of its own, as a message would come.
        for (const { onNudge } of introduced.values()) this.#node.after(50, "nudge", onNudge, true);
      },
      // Threads of a process end with it.
      expect() {},
      close: () => {
        this.#hosts.delete(fabricId);
        for (const { onGone } of introduced.values()) onGone();
      },
    };
  }
}
