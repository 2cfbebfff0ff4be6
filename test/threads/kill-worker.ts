/** What the threads that are killed run: a task's body and a chunk's work in one, by the query of the module's URL. */
import type { TaskContext } from "@selvage/batch";
import type { ChunkContext } from "@selvage/jobs";

const query = new URL(import.meta.url).searchParams;
/** Where it ends its own thread at its first attempt, if anywhere. */
const dies = query.get("dies");

/** An output that ends the thread when it is taken. */
function deadly(): Uint8Array {
  return Object.defineProperty(new Uint8Array(1), "byteLength", { get: () => process.exit(5) });
}

/** Each byte plus 1, after some work. */
function make(bytes: Uint8Array, attempt: number, progress: () => void): Uint8Array {
  if (attempt === 1 && dies === "running") process.exit(5);
  if (attempt === 1 && dies === "committing") return deadly();
  if (attempt === 1 && dies === "done") setTimeout(() => process.exit(5), Number(query.get("ms")));
  const untilMs = performance.now() + Number(query.get("work") ?? 0);
  while (performance.now() < untilMs) progress();
  return bytes.map((byte) => byte + 1);
}

function block(context: TaskContext): Promise<void> {
  return new Promise((resolve) => {
    context.signal.addEventListener("abort", () => resolve());
  });
}

// oxlint-disable-next-line import/no-default-export -- what a worker's module gives is its default export.
export default (first: Uint8Array | TaskContext, second?: ChunkContext): unknown => {
  if (first instanceof Uint8Array)
    return make(first, second?.attempt ?? 0, () => second?.progress());
  if (query.has("block")) return block(first);
  return { y: make(first.input("x"), first.attempt, () => first.progress()) };
};
