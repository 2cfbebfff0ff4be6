/**
 * One side of the lease benchmarks, in a process of its own: `leases-worker.ts <kind> <live> <batches>`. It keeps
 * `live` leases (or timers) standing; a turn renews a stretch of them, ends it and replaces it.
 */
import { TimingWheel } from "@selvage/fabric";
import { Fabric } from "@selvage/node";
import { serveTurns } from "./children.ts";
import { timed, type Step, type Turn } from "./harness.ts";
import { seededRandom } from "./statistics.ts";

/** What the kinds have in common. Each call returns 1 for the checksum. */
interface Keeper {
  create(place: number, ttlMs: number): number;
  renew(place: number, ttlMs: number): number;
  end(place: number): number;
}

/** Places per batch, where the population has twice as many: far more than a clock read, or a cold cache, costs. */
const BATCH = 5_000;
const TTL_LEAST_MS = 600_000;
const TTL_SPAN_MS = 3_000_000;

function leases(live: number): Keeper {
  const fabric = Fabric.open({
    memoryBytes: 2 * live * 64 + 65_536,
    maxLeases: 2 * live,
    blocks: 0,
  });
  // One builder per TTL: a program asks for the same few kinds of lease again and again.
  const builders = Array.from({ length: 1_000 }, (_, index) =>
    fabric
      .mem()
      .minBytes(64)
      .leaseMs(TTL_LEAST_MS + index * (TTL_SPAN_MS / 1_000)),
  );
  const held = Array.from({ length: live }, () => fabric.mem().minBytes(64).acquire());
  for (const lease of held) lease.release();
  return {
    create(place, ttlMs) {
      const lease = (builders[ttlMs % 1_000] as (typeof builders)[0]).acquire();
      held[place] = lease;
      return lease.bytes === 64 ? 1 : 0;
    },
    renew(place, ttlMs) {
      return (held[place] as (typeof held)[0]).renew(ttlMs) > 0 ? 1 : 0;
    },
    end(place) {
      return (held[place] as (typeof held)[0]).release() ? 1 : 0;
    },
  };
}

const onDue = (): void => {};

function timeouts(live: number): Keeper {
  const held = Array.from({ length: live }, () => setTimeout(onDue, TTL_LEAST_MS));
  for (const timer of held) clearTimeout(timer);
  return {
    create(place, ttlMs) {
      held[place] = setTimeout(onDue, ttlMs);
      return 1;
    },
    renew(place) {
      return (held[place] as NodeJS.Timeout).refresh() === held[place] ? 1 : 0;
    },
    end(place) {
      clearTimeout(held[place]);
      return 1;
    },
  };
}

function wheel(live: number): Keeper {
  const timing = new TimingWheel(live, 0);
  const deadlines = new Float64Array(live);
  return {
    create(place, ttlMs) {
      deadlines[place] = ttlMs;
      timing.schedule(place, ttlMs);
      return 1;
    },
    // As the fabric does it: the deadline moves in a table, and the wheel finds out at the old one.
    renew(place, ttlMs) {
      deadlines[place] = ttlMs;
      return 1;
    },
    end(place) {
      timing.cancel(place);
      return 1;
    },
  };
}

/** Arms every place within a minute, and lets the minute pass in ticks of 10 ms. */
function expireAll(live: number): Step {
  const random = seededRandom(2);
  const timing = new TimingWheel(live, 0);
  for (let place = 0; place < live; place++)
    timing.schedule(place, 1 + Math.floor(random() * 60_000));
  return timed(live, () => {
    let due = 0;
    const count = (): number => {
      due++;
      return -1;
    };
    for (let nowMs = 10; nowMs <= 60_000; nowMs += 10) timing.advance(nowMs, count);
    return due;
  });
}

function main([kind, liveText, batchesText]: readonly string[]): void {
  const live = Number(liveText);
  const batches = Number(batchesText);
  const batch = Math.min(BATCH, live / 2);
  const keeper = kind === "leases" ? leases(live) : kind === "wheel" ? wheel(live) : timeouts(live);
  const random = seededRandom(1);
  const drawTtl = (): number => TTL_LEAST_MS + Math.floor(random() * TTL_SPAN_MS);
  for (let place = 0; place < live; place++) keeper.create(place, drawTtl());
  const places = new Int32Array(batch);
  const ttls = new Int32Array(batch);

  const each = (step: (place: number, ttlMs: number) => number): Step =>
    timed(batch, (ops) => {
      let sum = 0;
      for (let op = 0; op < ops; op++) sum += step(places[op] as number, ttls[op] as number);
      return sum;
    });
  const renew = (place: number, ttlMs: number): number => keeper.renew(place, ttlMs);
  const end = (place: number): number => keeper.end(place);
  const create = (place: number, ttlMs: number): number => keeper.create(place, ttlMs);

  serveTurns((): Turn => {
    const turn = { create: nothing(), renew: nothing(), end: nothing() };
    for (let round = 0; round < batches; round++) {
      // A stretch of neighbours, from anywhere: what was granted together is renewed and ends together.
      const first = Math.floor(random() * live);
      for (let op = 0; op < batch; op++) {
        places[op] = (first + op) % live;
        ttls[op] = drawTtl();
      }
      turn.renew = plus(turn.renew, each(renew));
      turn.end = plus(turn.end, each(end));
      turn.create = plus(turn.create, each(create));
    }
    return kind === "wheel" ? { ...turn, expire: expireAll(live) } : turn;
  });
}

function nothing(): Step {
  return { ns: 0, ops: 0, checksum: 0 };
}

function plus(a: Step, b: Step): Step {
  return { ns: a.ns + b.ns, ops: a.ops + b.ops, checksum: a.checksum + b.checksum };
}

main(process.argv.slice(2));
