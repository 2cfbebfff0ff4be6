/** Invariants M3 and M4 of the hash map, as explorations of the code that ships. */
import { FabricHashMap, type MapCodecs } from "@selvage/collections";
import { rawCodec, type MemTicket } from "@selvage/fabric";
import type { Outcome, SteppedThread } from "./execution.ts";
import { attachExplored, openExplored } from "./explored-fabric.ts";
import type { Explorable } from "./ring-properties.ts";
import { buryThreads, idOf, valueOf } from "./ring-rig.ts";

const codecs = { key: rawCodec, value: rawCodec } as unknown as MapCodecs<Uint8Array, Uint8Array>;
const shape = { capacity: 2, keyBytes: 4, valueBytes: 8 };
const key = valueOf(1, 4);
const first = 10;

type MapThread = SteppedThread<MemTicket>;

const reader: MapThread = (ticket, host) => {
  const map = FabricHashMap.attach(attachExplored(host, ticket), codecs);
  return () => [0, 1].map(() => idOf(map.get(key) ?? new Uint8Array(0)));
};

function check({ threads, host, shared }: Outcome<MemTicket>): string | undefined {
  const latest = (threads[0]?.notes.at(-1) ?? first) as number;
  for (const { result } of threads.slice(1)) {
    const seen = result as readonly number[];
    if (seen.some((id) => id < first || id > latest)) return `M3: read ${seen.join()}`;
    if ((seen[0] as number) > (seen[1] as number)) return `M3: read ${seen.join()}, back`;
  }
  buryThreads(host, shared);
  return wrongMap(FabricHashMap.attach(attachExplored(host, shared), codecs), latest);
}

/**
 * M3: a reader finds a value that the key had, whole, and for one reader never an older one than before. M4: so it is when
 * the writer dies, and the next one writes as if nothing had been. Thread 0 sets the key `writes` times; `readers` read.
 */
export function mapRead(writes: number, readers: number, mayDie: boolean): Explorable {
  const writer: MapThread = (ticket, host) => {
    const map = FabricHashMap.attach(attachExplored(host, ticket), codecs);
    return () => {
      for (let id = first + 1; id <= first + writes; id++) {
        host.note(id);
        map.set(key, valueOf(id, shape.valueBytes));
      }
    };
  };
  const whole = {
    setUp: (memory: Parameters<Explorable["setUp"]>[0]): MemTicket => {
      const bytes = FabricHashMap.bytesFor(shape);
      const fabric = openExplored(memory, { memoryBytes: bytes + 64 });
      const lease = fabric.mem().minBytes(bytes).leaseMs(1e9).acquire();
      const map = new FabricHashMap(lease, { ...codecs, ...shape });
      map.set(key, valueOf(first, shape.valueBytes));
      return map.ticket();
    },
    threads: [writer, ...Array.from({ length: readers }, () => reader)],
    check,
    plainReads: "weak",
    mayDie: mayDie ? [0] : [],
  };
  return whole as unknown as Explorable;
}

function wrongMap(map: FabricHashMap<Uint8Array, Uint8Array>, latest: number): string | undefined {
  const id = idOf(map.get(key) ?? new Uint8Array(0));
  if (id !== latest && id !== latest - 1) return `M4: ${id} stands, of ${latest}`;
  map.set(valueOf(2, 4), valueOf(99, shape.valueBytes));
  const isThere = idOf(map.get(valueOf(2, 4)) ?? new Uint8Array(0)) === 99;
  return isThere && map.size === 2 ? undefined : "M4: the next write is lost";
}
