/**
 * Question: what do grant, renew and release cost, and do they stay as cheap with a million live leases as with a
 * thousand? Are they cheaper than the timer that a program would otherwise keep per resource?
 *
 * Workload: 64-byte memory leases, TTLs of 10 to 60 minutes, nearly all distinct; places drawn at random, so that at
 * a million nothing is in a cache. A release zeroes and frees the bytes; a grant replaces what was released. Each
 * population lives in a process of its own. `wheel` is the timing wheel alone, whose renewal is a write to a table.
 * Baseline: setTimeout with distinct times / refresh() / clearTimeout, and `new SharedArrayBuffer(4096)` for the
 * allocator.
 * Not measured: expiry of leases (only the wheel's), threads that renew at the same time, block leases.
 */
import { RangeAllocator } from "@selvage/fabric";
import { childSubject } from "./children.ts";
import { batched, takeTurns, type Effort, type Result, type Samples } from "./harness.ts";
import { seededRandom } from "./statistics.ts";
import { atLeast, atMost, type Suite } from "./suite.ts";

const worker = new URL("./leases-worker.ts", import.meta.url);
const operations = [
  ["grant", "create", "setTimeout"],
  ["renew", "renew", "refresh"],
  ["release", "end", "clearTimeout"],
] as const;

/** Leases of the smallest population: what the others are held against. */
const FEW = 1_000;
/** How much dearer an operation may be with 10^5 and 10^6 live leases than with 10^3. */
const flatness: Readonly<Record<number, number>> = { 100_000: 2, 1_000_000: 8 };
/** Operations of each kind in a turn: enough for the collector's share to be in every sample. */
const OPS_PER_TURN = 10_000;

async function measureLeases(effort: Effort): Promise<readonly Result[]> {
  const sizes = effort.smoke ? [100, 1_000] : [FEW, 100_000, 1_000_000];
  const subjects = sizes.flatMap((live) =>
    ["leases", "timeouts"].map((kind) => {
      const batch = Math.min(500, live / 2);
      const batches = effort.smoke ? 1 : Math.ceil(OPS_PER_TURN / batch);
      return childSubject(`${kind}@${live}`, worker, [kind, String(live), String(batches)]);
    }),
  );
  const samples = await takeTurns(subjects, plan(effort, 21, 6));
  return sizes.flatMap((live) => operations.map((names) => leaseResult(samples, live, names)));
}

function leaseResult(
  samples: Samples,
  live: number,
  [name, step, peer]: (typeof operations)[number],
): Result {
  const ours = `leases@${live}`;
  const theirs = `timeouts@${live}`;
  const value = samples.median(ours, step);
  const most = flatness[live];
  const fewest = samples.median(`leases@${FEW}`, step);
  return samples.result({
    suite: "leases",
    name: `${name}, ${live} live`,
    subject: ours,
    step,
    peers: { [peer]: [theirs, step] },
    targets: [
      atLeast(`${peer} / ${name}`, samples.median(theirs, step) / value, 1),
      ...(most === undefined ? [] : [atMost(`by ${FEW} live`, value / fewest, most)]),
    ],
  });
}

async function measureWheel(effort: Effort): Promise<readonly Result[]> {
  const live = effort.smoke ? 1_000 : 100_000;
  const batches = effort.smoke ? "1" : "20";
  const args = [String(live), batches];
  const samples = await takeTurns(
    [
      childSubject("wheel", worker, ["wheel", ...args]),
      childSubject("timeouts", worker, ["timeouts", ...args]),
    ],
    plan(effort, 21, 6),
  );
  const rows = [
    ["create", "setTimeout", 15],
    ["renew", "refresh", 30],
    ["end", "clearTimeout", 15],
  ] as const;
  const results = rows.map(([step, peer, floor]) => {
    const ratio = samples.median("timeouts", step) / samples.median("wheel", step);
    return samples.result({
      suite: "leases",
      name: `wheel ${step === "end" ? "cancel" : step}, ${live} armed`,
      subject: "wheel",
      step,
      peers: { [peer]: ["timeouts", step] },
      targets: [atLeast(peer, ratio, floor)],
    });
  });
  const expireNs = samples.median("wheel", "expire");
  const expire = samples.result({
    suite: "leases",
    name: `wheel expire, ${live} armed`,
    subject: "wheel",
    step: "expire",
    targets: [atMost("ns", expireNs, 100)],
  });
  return [...results, expire];
}

async function measureAllocator(effort: Effort): Promise<readonly Result[]> {
  const ops = effort.smoke ? 1_000 : 20_000;
  const samples = await takeTurns(
    [allocatorSubject(ops), sharedBufferSubject(ops)],
    plan(effort, 31, 3),
  );
  const ratio = samples.median("SharedArrayBuffer", "op") / samples.median("RangeAllocator", "op");
  const row = samples.result({
    suite: "leases",
    name: "allocator: free + allocate",
    subject: "RangeAllocator",
    step: "op",
    peers: { "new SharedArrayBuffer(4096)": ["SharedArrayBuffer", "op"] },
    targets: [atLeast("new SharedArrayBuffer(4096)", ratio, 10)],
  });
  return [row];
}

/** 4,096 live blocks of 64 bytes to 32 KiB, of which one at random is freed and replaced by one of another size. */
function allocatorSubject(ops: number): ReturnType<typeof batched> {
  const places = 4_096;
  const random = seededRandom(4);
  const draw = (): number => 1 + Math.floor(random() ** 3 * 512);
  const ranges = new RangeAllocator(places * 1_024);
  const blocks = Array.from({ length: places }, () => ranges.allocate(draw()));
  const order = Int32Array.from({ length: ops }, () => Math.floor(random() * places));
  const sizes = Int32Array.from({ length: ops }, draw);
  return batched("RangeAllocator", ops, () => {
    let allocated = 0;
    for (let op = 0; op < ops; op++) {
      const place = order[op] as number;
      ranges.free(blocks[place] as number);
      const block = ranges.allocate(sizes[op] as number);
      blocks[place] = block;
      if (block >= 0) allocated++;
    }
    return allocated;
  });
}

function sharedBufferSubject(ops: number): ReturnType<typeof batched> {
  const kept: SharedArrayBuffer[] = [];
  return batched("SharedArrayBuffer", ops / 10, (count) => {
    let bytes = 0;
    for (let op = 0; op < count; op++) {
      const buffer = new SharedArrayBuffer(4_096);
      kept[op & 1_023] = buffer;
      bytes += buffer.byteLength;
    }
    return bytes;
  });
}

function plan(
  effort: Effort,
  rounds: number,
  warmups: number,
): { rounds: number; warmups: number; progress: Effort["progress"] } {
  const { smoke, progress } = effort;
  return { rounds: smoke ? 2 : (effort.rounds ?? rounds), warmups: smoke ? 0 : warmups, progress };
}

export const leasesSuite: Suite = {
  name: "leases",
  question: "Do grant, renew and release stay cheap with a million live leases?",
  async run(effort) {
    return [
      ...(await measureLeases(effort)),
      ...(await measureWheel(effort)),
      ...(await measureAllocator(effort)),
    ];
  },
};
