/** The bodies that are at work in all processes, and the claims that they have. */
import { sometimes, Violation, type Kernel, type SimNode } from "@selvage/sim";
import { bounded, fenced, within } from "./jobs-rules.ts";

interface AtWork {
  readonly node: SimNode;
  readonly id: string;
  readonly task: string;
  readonly epoch: number;
}

/** Who made a claim, and which attempt it was counted as. */
interface Claim {
  readonly owner: string;
  readonly attempt: number;
}

/** All bodies of a run. */
export class JobBodies {
  readonly #kernel: Kernel;
  readonly #limits: ReadonlyMap<string, number>;
  readonly #atWork = new Set<AtWork>();
  /** By job: its claims, by their epochs. */
  readonly #claims = new Map<string, Map<number, Claim>>();
  readonly #begun = new Map<string, Set<number>>();
  /** Claims that were given up, and workers that are gone: their bodies may go on, and nobody counts them. */
  readonly #forfeited = new Set<string>();
  readonly #goneWorkers = new Set<string>();

  constructor(kernel: Kernel, limits: ReadonlyMap<string, number>) {
    this.#kernel = kernel;
    this.#limits = limits;
    kernel.observe(({ kind, node }) => {
      if (kind !== "node.crashed") return;
      for (const body of this.#atWork) if (body.node.name === node) this.#atWork.delete(body);
    });
  }

  claimed(id: string, epoch: number, claim: Claim): void {
    const claims = this.#claims.get(id) ?? new Map<number, Claim>();
    this.#claims.set(id, claims.set(epoch, claim));
  }

  forfeit(id: string, epoch: number): void {
    this.#forfeited.add(`${id} ${epoch}`);
  }

  workerGone(worker: string): void {
    this.#goneWorkers.add(worker);
  }

  /** A body begins. Returns what its end is told by. */
  begin(node: SimNode, job: Omit<AtWork, "node"> & { readonly attempt: number }): () => void {
    const { id, task, epoch, attempt } = job;
    const body: AtWork = { node, id, task, epoch };
    this.#isNew(body, attempt);
    const isLive = this.#isLive(body);
    // A seed in hundreds has one.
    if (isLive) this.#isAlone(body);
    else sometimes("a body began after its claim was given up");
    this.#atWork.add(body);
    return () => {
      sometimes("a body went on without its claim", !this.#isLive(body));
      this.#atWork.delete(body);
    };
  }

  #isNew({ id, epoch }: AtWork, attempt: number): void {
    const begun = this.#begun.get(id) ?? new Set<number>();
    this.#begun.set(id, begun);
    const claim = this.#claims.get(id)?.get(epoch);
    if (begun.has(epoch) || claim === undefined)
      this.#kernel.fail(new Violation(fenced, `a body of ${id} has the epoch ${epoch}`));
    begun.add(epoch);
    if (claim?.attempt !== attempt)
      this.#kernel.fail(
        new Violation(bounded, `${id}: attempt ${attempt} was counted as ${claim?.attempt}`),
      );
  }

  #isLive({ id, epoch }: AtWork): boolean {
    const owner = this.#claims.get(id)?.get(epoch)?.owner ?? "";
    return !this.#forfeited.has(`${id} ${epoch}`) && !this.#goneWorkers.has(owner);
  }

  #isAlone({ id, task, epoch }: AtWork): void {
    const live = [...this.#atWork].filter((body) => body.task === task && this.#isLive(body));
    const other = live.find((body) => body.id === id);
    if (other !== undefined)
      this.#kernel.fail(new Violation(within, `${id} runs as ${other.epoch} and as ${epoch}`));
    const most = this.#limits.get(task) ?? Infinity;
    if (live.length >= most)
      this.#kernel.fail(new Violation(within, `${live.length + 1} of "${task}", not ${most}`));
    sometimes("a task was at its limit", live.length + 1 === most);
  }
}
