import { Readable, Writable } from "node:stream";
import { FabricError } from "@selvage/fabric";
import type { PipelineEvent, PipelineOptions } from "@selvage/pipeline";
import { describe, expect, it } from "vitest";
import { about, counts, numbers, Rig, turn, WatchedSource } from "./rig.ts";

const never = (): Promise<never> => new Promise(() => {});
const cutOff = async function* (): AsyncGenerator<number> {
  yield* numbers(3);
  throw new Error("cut off");
};
const both = [{ edges: "fused" }, { edges: "queue", capacity: 8 }] as const;

/** Nothing is left of a run: no timer, no lease. */
function expectNothingLeft(rig: Rig): void {
  for (const fabric of rig.fabrics) {
    const { leasedBytes, quarantinedBytes } = fabric.stats().memory;
    expect([leasedBytes, quarantinedBytes]).toEqual([0, 0]);
  }
  expect(rig.alarms).toBe(0);
}

describe("Pipeline.run() ends", () => {
  describe.each(both)("with $edges edges", (edges: PipelineOptions) => {
    it("a source that never ends, by an abort: it is given back, and nothing is left", async () => {
      const rig = new Rig();
      const source = new WatchedSource();
      const abort = new AbortController();
      let taken = 0;
      const sink = async (): Promise<void> => {
        if (++taken === 100) abort.abort(new Error("enough"));
        if (taken % 10 === 0) await turn();
      };
      const result = await rig.pump(
        rig
          .from(source)
          .map((n) => n + 1)
          .sink(sink)
          .run({ ...edges, signal: abort.signal }),
      );
      expect([result.status, result.isComplete]).toEqual(["cancelled", false]);
      expect(result.error).toBe(abort.signal.reason);
      expect(source.returned).toBe(1);
      expect(result.itemsIn).toBe(result.itemsOut + result.dropped);
      expectNothingLeft(rig);
    });

    it("a source that never ends and of which nothing passes, by an abort", async () => {
      const rig = new Rig();
      const source = new WatchedSource();
      const abort = new AbortController();
      const run = rig
        .from(source)
        .filter((n) => {
          // Time passes: a long run lets the event loop have its turns.
          if (n % 1_000 === 0) rig.nowMs += 20;
          return false;
        })
        .flatMap((n: number) => [n])
        .batch(3)
        .sink(() => {})
        .run({ ...edges, signal: abort.signal });
      await turn();
      await turn();
      abort.abort();
      expect((await rig.pump(run)).status).toBe("cancelled");
      expect(source.returned).toBe(1);
      expectNothingLeft(rig);
    });

    it("a source that never answers, by an abort: nothing waits for its answer", async () => {
      const rig = new Rig();
      const abort = new AbortController();
      let returned = 0;
      const source = {
        [Symbol.asyncIterator]: () => ({
          next: never,
          return: () => {
            returned++;
            return Promise.resolve({ done: true as const, value: undefined });
          },
        }),
      };
      const run = rig
        .from<number>(source)
        .sink(() => {})
        .run({ ...edges, signal: abort.signal });
      await turn();
      const atMs = rig.nowMs;
      abort.abort();
      const result = await rig.pump(run);
      expect(result.status).toBe("cancelled");
      expect(returned).toBe(1);
      expect(rig.nowMs - atMs).toBeLessThan(100);
      expectNothingLeft(rig);
    });

    it("an intake that is stopped: what was taken in goes through", async () => {
      const rig = new Rig();
      const source = new WatchedSource();
      const stop = new AbortController();
      const taken: number[] = [];
      const events: PipelineEvent[] = [];
      const result = await rig.pump(
        rig
          .from(source)
          .map(async (n) => {
            await rig.later(1);
            if (n === 20) stop.abort();
            return n;
          })
          .sink((n) => void taken.push(n))
          .run({ ...edges, stop: stop.signal, onEvent: (event) => void events.push(event) }),
      );
      expect([result.status, result.isComplete, result.dropped]).toEqual(["succeeded", false, 0]);
      expect(taken).toEqual(numbers(result.itemsIn));
      expect(source.returned).toBe(1);
      const stopping = events.filter(({ type }) => type === "stopping");
      expect(stopping).toMatchObject([{ because: "stop" }]);
      expectNothingLeft(rig);
    });

    it("a deadline: takes nothing more in, drains, and says that it was late", async () => {
      const rig = new Rig();
      const source = new WatchedSource();
      const taken: number[] = [];
      const result = await rig.pump(
        rig
          .from(source.slowly(() => rig.later(10)))
          .sink((n) => void taken.push(n))
          .run({ ...edges, deadlineMs: 105 }),
      );
      expect([result.status, result.isComplete]).toEqual(["timedOut", false]);
      expect(result.error).toMatchObject({ code: "TIMED_OUT", details: { deadlineMs: 105 } });
      expect(taken).toEqual(numbers(10));
      expectNothingLeft(rig);
    });

    it("a stage that hangs, after drainMs and graceMs: its signal is aborted first", async () => {
      const rig = new Rig();
      const told: unknown[] = [];
      const result = await rig.pump(
        rig
          .from(numbers(5))
          .map(
            (n, _offset, { signal }) => {
              if (n < 3) return n;
              signal.addEventListener("abort", () => told.push(rig.nowMs, signal.reason));
              return never();
            },
            { name: "stuck" },
          )
          .sink(() => {})
          .run({ ...edges, deadlineMs: 100, drainMs: 50, graceMs: 20 }),
      );
      expect(result.status).toBe("timedOut");
      expect(told).toMatchObject([expect.any(Number), { code: "TIMED_OUT" }]);
      expect(counts(result)).toContain("stuck 5>3 dropped 2");
      expect(result.elapsedMs).toBeLessThan(300);
      expectNothingLeft(rig);
    });

    it("stages that hang in parallel, and an abort: waits for graceMs, no longer", async () => {
      const rig = new Rig();
      const abort = new AbortController();
      const run = rig
        .from(numbers(50))
        .parallel(4)
        .map(never)
        .sink(() => {})
        .run({ ...edges, signal: abort.signal, graceMs: 30 });
      await turn();
      abort.abort("gone");
      const result = await rig.pump(run);
      expect([result.status, result.error]).toEqual(["cancelled", "gone"]);
      expect(result.elapsedMs).toBeLessThan(200);
      expectNothingLeft(rig);
    });

    it("calls that are under way in parallel are waited for when the run fails", async () => {
      const rig = new Rig();
      let underWay = 0;
      let most = 0;
      const result = await rig.pump(
        rig
          .from(numbers(50))
          .parallel(4)
          .sink(async (n) => {
            if (n === 4) {
              await rig.later(1);
              throw new Error("no");
            }
            most = Math.max(most, ++underWay);
            await rig.later(40);
            underWay--;
          })
          .run(edges),
      );
      expect(about(result.error)).toEqual(["INVALID_ARGUMENT", "sink", 4]);
      expect(most).toBe(4);
      expect(underWay).toBe(0);
    });

    it("a sink that throws: with its name, the item's offset, and the source given back", async () => {
      const rig = new Rig();
      const source = new WatchedSource();
      const thrown = new FabricError("STORE_UNAVAILABLE", "down", { path: "x" });
      const result = await rig.pump(
        rig
          .from(source)
          .filter((n) => n % 2 === 1)
          .sink(
            (n) => {
              if (n === 7) throw thrown;
            },
            { name: "store" },
          )
          .run(edges),
      );
      expect(result.status).toBe("failed");
      expect(result.error).toMatchObject({
        code: "STORE_UNAVAILABLE",
        details: { path: "x", stage: "store", offset: 7 },
        cause: thrown,
      });
      expect(result.itemsOut).toBe(3);
      expect(source.returned).toBe(1);
      expectNothingLeft(rig);
    });

    it("a source that throws: what it gave before is delivered", async () => {
      const rig = new Rig();
      const taken: number[] = [];
      const result = await rig.pump(
        rig
          .from(cutOff(), "feed")
          .sink((n) => void taken.push(n))
          .run(edges),
      );
      expect(about(result.error)).toEqual(["DISCONNECTED", "feed", 3]);
      expect(taken).toEqual(numbers(3));
      expectNothingLeft(rig);
    });

    it("a source that throws while a stage tries again an item of the same chunk", async () => {
      const rig = new Rig();
      const taken: number[] = [];
      const source = (function* (): Generator<number> {
        yield* numbers(6);
        throw new Error("cut off");
      })();
      let failures = 0;
      const result = await rig.pump(
        rig
          .from(source)
          .map(
            (n) => {
              if (n === 3 && failures++ === 0) throw new Error("not yet");
              return n;
            },
            { retry: 1 },
          )
          .sink((n) => void taken.push(n))
          .run(edges),
      );
      expect(about(result.error)).toEqual(["DISCONNECTED", "source", 6]);
      expect(taken).toEqual(numbers(6));
    });

    it("a source whose return() hangs or throws, in time", async () => {
      const rig = new Rig();
      for (const giveBack of [never, () => Promise.reject(new Error("no"))]) {
        const source = {
          [Symbol.asyncIterator]: () => ({
            next: () => Promise.resolve({ done: false as const, value: 1 }),
            return: giveBack,
          }),
        };
        const result = await rig.pump(
          rig
            .from<number>(source)
            .sink((_n, offset) => {
              if (offset === 5) throw new Error("full");
            })
            .run({ ...edges, graceMs: 30 }),
        );
        expect(about(result.error)).toEqual(["INVALID_ARGUMENT", "sink", 5]);
        expectNothingLeft(rig);
      }
    });

    it("an abort that came first: nothing is taken in", async () => {
      const rig = new Rig();
      const source = new WatchedSource();
      const signal = AbortSignal.abort("before");
      const run = rig
        .from(source)
        .sink(() => {})
        .run({ ...edges, signal });
      expect((await rig.pump(run)).status).toBe("cancelled");
      expect(source.next).toBe(0);
      expectNothingLeft(rig);
    });

    it("a watcher that throws: run rejects with it, and gives everything back", async () => {
      const rig = new Rig();
      const source = new WatchedSource();
      const run = rig
        .from(source)
        .map(
          (n) => {
            if (n === 3) throw new Error("refused");
            return n;
          },
          { retry: 1 },
        )
        .sink(() => {})
        .run({
          ...edges,
          onEvent: ({ type }) => {
            if (type === "retry") throw new Error("watcher");
          },
        });
      await expect(rig.pump(run)).rejects.toThrow("watcher");
      expect(source.returned).toBe(1);
      expectNothingLeft(rig);
    });

    it("a node stream that is read and one that is written: both are destroyed", async () => {
      const rig = new Rig();
      const source = Readable.from(new WatchedSource());
      const sink = new Writable({
        objectMode: true,
        write: (n: number, _encoding, done) => done(n === 5 ? new Error("disk") : null),
      });
      const result = await rig.pump(rig.from<number>(source).sink(sink).run(edges));
      expect(result.status).toBe("failed");
      expect((result.error as Error).message).toContain("disk");
      await turn();
      expect([source.destroyed, sink.destroyed]).toEqual([true, true]);
      expectNothingLeft(rig);
    });

    it("Web streams: the one that is read is cancelled, the one that is written aborted", async () => {
      const rig = new Rig();
      const told: unknown[] = [];
      let next = 0;
      const source = new ReadableStream<number>({
        pull: (controller) => controller.enqueue(next++),
        cancel: (reason) => void told.push("cancelled", (reason as Error).message),
      });
      const sink = new WritableStream<number>({
        abort: (reason) => void told.push("aborted", (reason as Error).message),
      });
      const result = await rig.pump(
        rig
          .from(source)
          .map((n) => {
            if (n === 9) throw new Error("nine");
            return n;
          })
          .sink(sink)
          .run(edges),
      );
      expect(about(result.error)).toEqual(["INVALID_ARGUMENT", "map-1", 9]);
      const why = (result.error as Error).message;
      expect(new Set(told)).toEqual(new Set([why, "aborted", "cancelled"]));
      expect([source.locked, sink.locked]).toEqual([false, false]);
      expectNothingLeft(rig);
    });
  });

  it("an item that the queue's codec cannot write: ENCODE, with the stage that made it", async () => {
    const rig = new Rig();
    const taken: unknown[] = [];
    const result = await rig.pump(
      rig
        .from([1, 2, 3])
        .map((n) => (n === 3 ? 3n : n), { name: "make" })
        .sink((n) => void taken.push(n))
        .run({ edges: "queue" }),
    );
    expect(about(result.error)).toEqual(["ENCODE", "make", 2]);
    expect(taken).toEqual([1, 2]);
    expectNothingLeft(rig);
  });

  it("undefined in a queue: ENCODE, not null", async () => {
    const rig = new Rig();
    const run = rig
      .from([1, undefined])
      .sink(() => {})
      .run({ edges: "queue" });
    expect(about((await rig.pump(run)).error)).toEqual(["ENCODE", "source", 1]);
  });

  it("an item longer than its slot: CAPACITY_EXCEEDED, with the sizes", async () => {
    const rig = new Rig();
    const result = await rig.pump(
      rig
        .from(["short", "x".repeat(100)])
        .sink(() => {})
        .run({ edges: "queue", stride: 64 }),
    );
    expect(result.error).toMatchObject({
      code: "CAPACITY_EXCEEDED",
      details: { stage: "source", offset: 1, bytes: 102, bytesMax: 64 },
    });
    expectNothingLeft(rig);
  });

  it("a fabric without room for the queues: CAPACITY_EXCEEDED, before anything is taken in", async () => {
    const rig = new Rig();
    const source = new WatchedSource();
    const fabric = rig.open({ memoryBytes: 65_536 });
    const run = rig
      .from(source)
      .map(String)
      .sink(() => {})
      .run({ edges: "queue", fabric });
    expect((await rig.pump(run)).error).toMatchObject({ code: "CAPACITY_EXCEEDED" });
    expect(source.next).toBe(0);
    expect(fabric.leases()).toEqual([]);
    fabric[Symbol.dispose]();
  });

  it("a queue whose lease is revoked: REVOKED, with what was in it told as dropped", async () => {
    const rig = new Rig();
    const fabric = rig.open();
    const result = await rig.pump(
      rig
        .from(numbers(500))
        .sink(async (n) => {
          await turn();
          if (n === 50) for (const lease of fabric.leases()) lease.revoke();
        })
        .run({ edges: "queue", fabric, capacity: 16 }),
    );
    expect(about(result.error).slice(0, 1)).toEqual(["REVOKED"]);
    expect(result.itemsIn).toBe(result.itemsOut + result.dropped);
    expect(fabric.leases()).toEqual([]);
    fabric[Symbol.dispose]();
  });

  it("a queue whose lease is revoked while nothing goes through it: at once", async () => {
    const rig = new Rig();
    const fabric = rig.open();
    const run = rig
      .from<number>(never)
      .sink(() => {})
      .run({ edges: "queue", fabric });
    await turn();
    for (const lease of fabric.leases()) lease.revoke();
    const { error, elapsedMs } = await rig.pump(run);
    expect(about(error)).toEqual(["REVOKED", "sink", undefined]);
    expect(elapsedMs).toBeLessThan(1_000);
    fabric[Symbol.dispose]();
  });

  it("a queue whose lease nobody renews: LEASE_EXPIRED", async () => {
    const rig = new Rig();
    const run = rig
      .from(numbers(500))
      .sink(() => rig.later(10))
      .run({ edges: "queue", renewals: false, ttlMs: 300 });
    expect(about((await rig.pump(run)).error)[0]).toBe("LEASE_EXPIRED");
    expectNothingLeft(rig);
  });

  it("a run that takes ten times the queues' TTL, with them renewed", async () => {
    const rig = new Rig();
    const run = rig
      .from(numbers(100))
      .sink(() => rig.later(30))
      .run({ edges: "queue", ttlMs: 300 });
    expect((await rig.pump(run)).status).toBe("succeeded");
    expectNothingLeft(rig);
  });
});
