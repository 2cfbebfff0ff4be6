/** Works of jobs on worker threads. Which one is the `work` of the module's URL. */
import type { ChunkContext, ChunkWork } from "@selvage/jobs";

const query = new URL(import.meta.url).searchParams;

const pause = (forMs: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, forMs);
  });
const double = (bytes: Uint8Array): Uint8Array => bytes.map((byte) => 2 * byte);
/** Does `deed` at the first attempt at the third chunk, and what is right otherwise. */
const once =
  (deed: ChunkWork): ChunkWork =>
  (bytes, context) =>
    bytes[0] === 2 && context.attempt === 1 ? deed(bytes, context) : double(bytes);
function loop(): never {
  for (;;);
}

const works: Readonly<Record<string, ChunkWork>> = {
  double,
  /** As many bytes as the chunk's number says, of that value. */
  inPlace(bytes, context) {
    const count = bytes[0] ?? 0;
    const output = context.allocate(2 * count);
    output.fill(count);
    return output.subarray(0, count);
  },
  throws: once(() => {
    throw new Error("once more");
  }),
  exits: once(() => process.exit(3)),
  /** Exits while its output is taken to its lease. */
  exitsLate: once(() =>
    Object.defineProperty(new Uint8Array(1), "byteLength", { get: () => process.exit(3) }),
  ),
  uncaught: once(async () => {
    setTimeout(() => {
      throw new Error("from a timer");
    }, 5);
    await pause(60_000);
    return new Uint8Array(0);
  }),
  loops: once(loop),
  loopsAll(_bytes, context) {
    context.log("looping");
    return loop();
  },
  text: once(() => "text" as never),
  async fails(bytes) {
    if (bytes[0] !== 5) return double(bytes);
    await pause(20);
    throw new Error("the last one");
  },
};

// oxlint-disable-next-line import/no-default-export -- what a job's module gives is its default export.
export default (bytes: Uint8Array, context: ChunkContext): ReturnType<ChunkWork> => {
  const work = works[query.get("work") ?? ""];
  if (work === undefined) throw new Error(`no work ${query.get("work")}`);
  return work(bytes, context);
};
