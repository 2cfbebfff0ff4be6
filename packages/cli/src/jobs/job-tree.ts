/** What a job waits for, and what those wait for, as a tree. */
import type { JobStatus, QueuedJob } from "@selvage/jobs";
import type { JobQueue } from "@selvage/node";
import { visible } from "../table.ts";

/** A job in its tree. */
export interface JobNode {
  readonly id: string;
  readonly taskName: string;
  readonly status: JobStatus;
  readonly progress: number;
  readonly because: string | undefined;
  /** Undefined: they are shown elsewhere, where the job stands for the first time; or there are too many. */
  readonly children: readonly JobNode[] | undefined;
  /** Why it has no children here. */
  readonly cut: "above" | "more" | "gone" | undefined;
}

/** Jobs that a tree has at most: each is read from the queue. */
const nodesMax = 1_000;

/** The tree of a job: what it waits for, or with `isUp` what waits for it. A job that several wait for is followed once. */
export async function treeOf(queue: JobQueue, root: QueuedJob, isUp: boolean): Promise<JobNode> {
  const seen = new Set<string>();
  const nodeOf = async (job: QueuedJob): Promise<JobNode> => {
    const { id, taskName, status, progress, because } = job;
    const about = { id, taskName, status, progress, because };
    const ids = isUp ? job.dependents : job.dependencies;
    if (seen.has(id) && ids.length > 0) return { ...about, children: undefined, cut: "above" };
    seen.add(id);
    if (seen.size > nodesMax && ids.length > 0)
      return { ...about, children: undefined, cut: "more" };
    const children: JobNode[] = [];
    for (const child of ids) {
      const found = await queue.getJob(child);
      children.push(found === undefined ? goneNode(child) : await nodeOf(found));
    }
    return { ...about, children, cut: undefined };
  };
  return nodeOf(root);
}

// Forgotten between two looks.
function goneNode(id: string): JobNode {
  const about = { id, taskName: "?", status: "complete", progress: 0, because: undefined } as const;
  return { ...about, children: undefined, cut: "gone" };
}

/** The tree as a document. */
export function treeDocument({ children, cut, ...about }: JobNode): object {
  return {
    ...about,
    ...(cut !== undefined && { cut }),
    children: (children ?? []).map(treeDocument),
  };
}

const signs: Readonly<Record<JobStatus, string>> = {
  pending: "○",
  running: "▸",
  complete: "✓",
  failed: "✕",
  dead: "✕",
  cancelled: "⊘",
};

/** The tree to read, a line a job. */
export function treeLines(root: JobNode): readonly string[] {
  const lines: string[] = [];
  const draw = (node: JobNode, lead: string, isLast: boolean, isRoot: boolean): void => {
    const branch = isRoot ? "" : isLast ? "└─ " : "├─ ";
    lines.push(`${lead}${branch}${lineOf(node)}`);
    const below = isRoot ? "" : isLast ? "   " : "│  ";
    const { children = [] } = node;
    for (const [at, child] of children.entries())
      draw(child, `${lead}${below}`, at === children.length - 1, false);
  };
  draw(root, "", true, true);
  return lines;
}

function lineOf({ id, taskName, status, progress, because, cut }: JobNode): string {
  if (cut === "gone") return `? ${id} (forgotten by now)`;
  const part = status === "running" ? ` ${Math.round(progress)} %` : "";
  const why = because === undefined ? "" : `: ${because}`;
  const rest = cut === undefined ? "" : cut === "above" ? " (see above)" : " (more)";
  return visible(`${signs[status]} ${taskName} ${id} ${status}${part}${why}${rest}`);
}
