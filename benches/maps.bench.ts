/**
 * Question: what does a map in leased memory cost beside Map and lmdb, and a store on leased blocks beside lmdb?
 *
 * Workload: 10,000 keys of 12 characters with values of 64 bytes, each side in a process of its own: all set into an
 * empty map, all replaced, all read in another order, as many looked for in vain, all deleted. The store: values set
 * 256 at a time and one at a time, durable when the promise resolves, on a file; and read again, hot.
 * Baseline: Map with the same strings and arrays: it keeps references, copies no byte, hashes a string once in its life,
 * and is one thread's. lmdb without syncing, all writes of a step in one transaction; for the store lmdb that syncs each
 * commit (`overlappingSync: false`), and batches what is put at a time as ours does.
 * Not measured: other sizes; readers on other threads; a hot tier smaller than what is read; compaction with much alive.
 */
import { childSubject } from "./children.ts";
import { takeTurns, type Effort, type Result } from "./harness.ts";
import type { Suite } from "./suite.ts";

const worker = new URL("./maps-worker.ts", import.meta.url);

async function mapResults({ smoke, rounds, progress }: Effort): Promise<Result[]> {
  const sides = ["map", "Map", "lmdb"] as const;
  const keys = smoke ? "200" : "10000";
  const samples = await takeTurns(
    sides.map((side) => childSubject(side, worker, [side, keys])),
    { rounds: smoke ? 2 : (rounds ?? 31), warmups: smoke ? 0 : 5, progress },
  );
  const names = {
    set: "set, 12 characters and 64 bytes",
    replace: "set again",
    get: "get",
    miss: "get, in vain",
    delete: "delete",
  };
  return Object.entries(names).map(([step, name]) => {
    samples.expectEqual(step, sides);
    return samples.result({
      suite: "maps",
      name: `FabricHashMap ${name}`,
      subject: "map",
      step,
      peers: { Map: ["Map", step], lmdb: ["lmdb", step] },
    });
  });
}

async function storeResults({ smoke, rounds, progress }: Effort): Promise<Result[]> {
  const sides = ["store", "lmdb store"] as const;
  const keys = smoke ? "256" : "4096";
  const samples = await takeTurns(
    sides.map((side) => childSubject(side, worker, [side, keys])),
    { rounds: smoke ? 2 : (rounds ?? 21), warmups: smoke ? 0 : 2, progress },
  );
  const names = {
    together: "put, durable, 256 at a time",
    single: "put, durable, one at a time",
    get: "get, hot",
  };
  return Object.entries(names).map(([step, name]) => {
    samples.expectEqual(step, sides);
    return samples.result({
      suite: "maps",
      name: `FabricKvStore ${name}`,
      subject: "store",
      step,
      peers: { lmdb: ["lmdb store", step] },
    });
  });
}

export const mapsSuite: Suite = {
  name: "maps",
  question: "What does a map in leased bytes cost beside Map, and a store on blocks beside lmdb?",
  async run(effort) {
    return [...(await mapResults(effort)), ...(await storeResults(effort))];
  },
};
