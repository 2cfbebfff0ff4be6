import { Readable, Writable } from "node:stream";
import { FabricError, jsonCodec } from "@selvage/fabric";
import type { Pipeline, PipelineEvent, PipelineOptions, RunnablePipeline } from "@selvage/pipeline";
import { describe, expect, expectTypeOf, it } from "vitest";
import { about, counts, numbers, Rig, turn, WatchedSource } from "./rig.ts";

const both = [{ edges: "fused" }, { edges: "queue", capacity: 4 }] as const;

function* generate(): Generator<number> {
  yield 1;
}

const refuse = (): never => {
  throw new Error("item");
};

async function collected<T>(rig: Rig, items: Promise<T[]>): Promise<T[]> {
  return rig.pump(items);
}

describe("Pipeline.fromSource()", () => {
  const rig = new Rig();
  let left = 3;
  const pull = (): number | undefined => (left > 0 ? left-- : undefined);
  let slow = 3;
  const pullSlowly = async (): Promise<number | undefined> => {
    await turn();
    return slow > 0 ? slow-- : undefined;
  };

  it.each([
    ["an array", [3, 2, 1]],
    ["a set", new Set([3, 2, 1])],
    ["a generator", [3, 2, 1].values()],
    ["an async generator", new WatchedSource(3).slowly(turn)],
    ["a node Readable", Readable.from([3, 2, 1])],
    ["a Web ReadableStream", ReadableStream.from([3, 2, 1])],
    ["a function", pull],
    ["a function that waits", pullSlowly],
    ["what can be read from an offset", { from: (offset: number) => [3, 2, 1].slice(offset) }],
  ])("reads %s to its end", async (_what, source) => {
    const items = await collected(rig, rig.from<number>(source as number[]).collect());
    expect(items).toEqual(_what === "an async generator" ? [0, 1, 2] : [3, 2, 1]);
  });

  it.each([undefined, null, 7, {}, new Date(0)])("refuses %s", (source) => {
    expect(() => rig.from(source as never)).toThrow(/source: expected/);
  });

  it("refuses a generator function that was not called", () => {
    expect(() => rig.from(generate as never)).toThrow(/call it/);
  });

  it("reads what can be read from an offset from fromOffset on, and counts on from there", async () => {
    const seen: unknown[] = [];
    const source = { from: (offset: number) => numbers(10, offset) };
    const run = rig.from<number>(source).sink((n, offset) => void seen.push([n, offset]));
    await rig.pump(run.run({ fromOffset: 8 }));
    expect(seen).toEqual([
      [8, 8],
      [9, 9],
    ]);
  });

  it("takes a source that cannot be opened for a failure", async () => {
    const source = {
      from(): never {
        throw new Error("no such topic");
      },
    };
    const { status, error } = await rig.pump(
      rig
        .from(source)
        .sink(() => {})
        .run(),
    );
    expect([status, ...about(error)]).toEqual(["failed", "DISCONNECTED", "source", 0]);
  });

  it("gives on what a slow source gives, without waiting for more", async () => {
    const own = new Rig();
    const seen: unknown[] = [];
    const start = own.nowMs;
    const source = new WatchedSource(3).slowly(() => own.later(1_000));
    const run = own
      .from(source)
      .sink((n) => void seen.push([n, own.nowMs - start]))
      .run();
    await own.pump(run);
    expect(seen).toEqual([
      [0, 1_000],
      [1, 2_000],
      [2, 3_000],
    ]);
  });

  it("is read no further than chunkItems ahead, however slow the sink", async () => {
    const source = new WatchedSource();
    const own = new Rig();
    const far: number[] = [];
    const run = own
      .from(source.slowly(() => Promise.resolve()))
      .sink(async (n) => {
        far.push(source.next - n);
        await own.later(10);
        if (n === 100) throw new Error("enough");
      })
      .run({ chunkItems: 8 });
    await own.pump(run);
    expect(Math.max(...far)).toBeLessThanOrEqual(10);
  });
});

describe("Pipeline.fromChunks()", () => {
  it("gives the items of arrays, leaves the arrays alone, and counts items", async () => {
    const rig = new Rig();
    const arrays = [[1, 2], [], [3]];
    for (const source of [arrays, ReadableStream.from(arrays)]) {
      const seen: unknown[] = [];
      const line = rig.chunks<number>(source).map((n) => n * 10);
      const result = await rig.pump(line.sink((n, at) => void seen.push([n, at])).run());
      expect(seen).toEqual([
        [10, 0],
        [20, 1],
        [30, 2],
      ]);
      expect(counts(result)).toEqual(["source 0>3", "map-1 3>3", "sink 3>3"]);
    }
    expect(arrays).toEqual([[1, 2], [], [3]]);
  });
});

describe.each(both)("Pipeline with $edges edges", (edges: PipelineOptions) => {
  it("maps, filters, flattens and batches, and types go through", async () => {
    const rig = new Rig();
    const line = rig
      .from(["1", "2", "3", "4"])
      .map((text) => Number(text))
      .filter((n): n is 1 | 2 | 4 => n !== 3)
      .flatMap((n) => [n, -n])
      .batch(4);
    expectTypeOf(line).toEqualTypeOf<Pipeline<number[]>>();
    expect(await collected(rig, line.collect(edges))).toEqual([
      [1, -1, 2, -2],
      [4, -4],
    ]);
  });

  it("waits for promises, and types are of what comes of them", async () => {
    const rig = new Rig();
    const line = rig
      .from([1, 2])
      .map(async (n) => {
        await turn();
        return `${n}`;
      })
      .filter(async (text) => text !== "1")
      .flatMap(async function* (text) {
        yield text;
        await turn();
        yield `${text}!`;
      });
    expectTypeOf(line).toEqualTypeOf<Pipeline<string>>();
    expect(await collected(rig, line.collect(edges))).toEqual(["2", "2!"]);
  });

  it("tries again by the stage's policy, and tells of it", async () => {
    const rig = new Rig();
    const events: PipelineEvent[] = [];
    let failures = 0;
    const result = await rig.pump(
      rig
        .from([1, 2, 3])
        .map(
          (n) => {
            if (n === 2 && failures++ < 2) throw new Error("not yet");
            return n;
          },
          { name: "fetch", retry: { retries: 3, baseMs: 100, jitter: "none" } },
        )
        .sink(() => {})
        .run({ ...edges, onEvent: (event) => void events.push(event) }),
    );
    expect([result.status, result.retries]).toEqual(["succeeded", 2]);
    expect(events.filter(({ type }) => type === "retry")).toMatchObject([
      { stage: "fetch", offset: 1, attempt: 1, delayMs: 100 },
      { stage: "fetch", offset: 1, attempt: 2, delayMs: 200 },
    ]);
    expect(events.map(({ type }) => type).filter((type) => type !== "lease")).toEqual(
      edges.edges === "fused"
        ? ["started", "retry", "retry", "stopping", "settled"]
        : ["started", "stopping", "retry", "retry", "settled"],
    );
  });

  it("does not try again what retryOn refuses, nor more often than told", async () => {
    const rig = new Rig();
    const tried: number[] = [];
    const run = rig
      .from([1, 2, 3])
      .parallel(3)
      .map(
        (n) => {
          tried.push(n);
          throw new FabricError(n === 1 ? "TIMED_OUT" : "DECODE", "no");
        },
        {
          retry: { retries: 2, baseMs: 1, retryOn: (error) => about(error)[0] === "TIMED_OUT" },
          deadLetter: { letters: { send: () => {} } },
        },
      )
      .sink(() => {})
      .run(edges);
    const result = await rig.pump(run);
    expect(tried.filter((n) => n === 1)).toHaveLength(3);
    expect(tried).toHaveLength(5);
    expect([result.status, result.deadLettered]).toEqual(["succeeded", 3]);
  });

  it("sets items aside: the subject, the bytes, and an error that says where", async () => {
    const rig = new Rig();
    const sent: unknown[] = [];
    const letters = {
      send: async (subject: string, bytes: Uint8Array, { error }: { error: unknown }) => {
        await turn();
        sent.push([subject, [...bytes], ...about(error)]);
      },
    };
    const result = await rig.pump(
      rig
        .from([Uint8Array.of(1), Uint8Array.of(2), Uint8Array.of(3)])
        .map(
          (bytes) => {
            if (bytes[0] === 2) throw new FabricError("DECODE", "odd");
            return bytes[0];
          },
          { name: "parse", deadLetter: { letters, subject: "bad" } },
        )
        .sink(() => {})
        .run({ ...edges, codec: bytesCodec }),
    );
    expect(sent).toEqual([["bad", [2], "DECODE", "parse", 1]]);
    expect(counts(result)[1]).toBe("parse 3>2 deadLettered 1");
    expect(result.status).toBe("succeeded");
  });

  it("fails where what cannot be done cannot be set aside either", async () => {
    const rig = new Rig();
    const down = { send: () => Promise.reject(new Error("letters are down")) };
    const run = rig.from([1]).map(refuse, { deadLetter: { letters: down } });
    const { error } = await rig.pump(run.sink(() => {}).run(edges));
    expect(about(error)).toEqual(["STORE_UNAVAILABLE", "map-1", 0]);

    const codec = {
      ...jsonCodec<number>(),
      encode: (): never => {
        throw new FabricError("ENCODE", "no form");
      },
    };
    const letters = { send: () => {} };
    const other = rig.from([1]).map(refuse, { deadLetter: { letters, codec } });
    expect(about((await rig.pump(other.sink(() => {}).run(edges))).error)[0]).toBe("ENCODE");
  });

  it("works on several items at a time, and keeps their order", async () => {
    const rig = new Rig();
    let atWork = 0;
    let most = 0;
    const run = rig
      .from(numbers(20))
      .parallel(4)
      .map(async (n) => {
        most = Math.max(most, ++atWork);
        await rig.later(50 - n);
        atWork--;
        return n;
      })
      .collect(edges);
    expect(await collected(rig, run)).toEqual(numbers(20));
    expect(most).toBe(4);
  });

  it("lets the quick ones pass where order does not matter", async () => {
    const rig = new Rig();
    const run = rig
      .from([300, 100, 200, 1])
      .parallel(3, { ordered: false })
      .map(async (ms) => {
        await rig.later(ms);
        return ms;
      })
      .collect(edges);
    expect(await collected(rig, run)).toEqual([100, 1, 200, 300]);
  });

  it("gives every item to a side sink as well, at the pace of the slower one", async () => {
    const rig = new Rig();
    const side: number[] = [];
    const main: number[] = [];
    let ahead = 0;
    const result = await rig.pump(
      rig
        .from(numbers(300))
        .tee((branch) =>
          branch
            .map((n) => n * 2)
            .sink(async (n) => {
              await rig.later(1);
              side.push(n);
            }),
        )
        .sink((n) => {
          main.push(n);
          ahead = Math.max(ahead, main.length - side.length);
        })
        .run({ ...edges, chunkItems: 10 }),
    );
    expect(main).toEqual(numbers(300));
    expect(side).toEqual(numbers(300).map((n) => n * 2));
    expect(ahead).toBeLessThanOrEqual(30);
    expect([result.itemsIn, result.itemsOut]).toEqual([300, 600]);
  });

  it("gives both sinks what is before a failure that happened before they parted", async () => {
    const rig = new Rig();
    const taken: number[] = [];
    const side: number[] = [];
    const { error } = await rig.pump(
      rig
        .from(numbers(9))
        .map((n) => {
          if (n === 5) throw new Error("five");
          return n;
        })
        .tee((branch) => branch.sink((n) => void side.push(n)))
        .map(async (n) => {
          await rig.later(20);
          return n;
        })
        .sink((n) => void taken.push(n))
        .run(edges),
    );
    expect(about(error)).toEqual(["INVALID_ARGUMENT", "map-1", 5]);
    expect([side, taken]).toEqual([numbers(5), numbers(5)]);
  });

  it("ends with what fails on the side only", async () => {
    const rig = new Rig();
    const source = new WatchedSource();
    const { error } = await rig.pump(
      rig
        .from(source)
        .tee((branch) =>
          branch.sink((n) => {
            if (n === 40) throw new Error("side");
          }),
        )
        .sink(() => {})
        .run(edges),
    );
    expect(about(error)).toEqual(["INVALID_ARGUMENT", "sink", 40]);
    expect(source.returned).toBe(1);
  });

  it("merges pipelines: each one's order stays, and a quick one does not wait for a slow one", async () => {
    const rig = new Rig();
    const slow = rig.from(
      new WatchedSource(5).slowly(() => rig.later(10)),
      "slow",
    );
    const quick = rig.from(numbers(105, 100), "quick").map((n) => n);
    const items = await collected(
      rig,
      slow.merge(quick, rig.from<number>([], "none")).collect(edges),
    );
    expect(items.filter((n) => n < 100)).toEqual(numbers(5));
    expect(items.filter((n) => n >= 100)).toEqual(numbers(105, 100));
    expect(items.slice(0, 5)).toEqual(numbers(105, 100));
  });

  it("writes to a node Writable and to a Web WritableStream, and ends them", async () => {
    const rig = new Rig();
    const written: number[] = [];
    const node = new Writable({
      objectMode: true,
      highWaterMark: 2,
      write: (n: number, _encoding, done) => {
        written.push(n);
        setImmediate(done);
      },
    });
    expect((await rig.pump(rig.from(numbers(20)).sink(node).run(edges))).status).toBe("succeeded");
    expect(written).toEqual(numbers(20));
    expect(node.writableFinished).toBe(true);
    expect(node.listenerCount("error")).toBe(0);

    const seen: number[] = [];
    let closed = 0;
    const web = new WritableStream<number>({
      async write(n) {
        await turn();
        seen.push(n);
      },
      close: () => void closed++,
    });
    expect((await rig.pump(rig.from(numbers(20)).sink(web).run(edges))).status).toBe("succeeded");
    expect([seen, closed]).toEqual([numbers(20), 1]);
  });

  it("fails where a stream is somebody else's already", async () => {
    const rig = new Rig();
    const web = new WritableStream();
    web.getWriter();
    const { error } = await rig.pump(rig.from([1]).sink(web).run(edges));
    expect(about(error)).toEqual(["CONFLICT", "sink", undefined]);
    const source = ReadableStream.from([1]);
    source.getReader();
    const other = rig.from<number>(source).sink(() => {});
    expect(about((await rig.pump(other.run(edges))).error)[1]).toBe("source");
  });

  it("is an async iterable; who stops asking ends the run", async () => {
    const rig = new Rig();
    const source = new WatchedSource();
    const seen: number[] = [];
    for await (const n of rig
      .from(source)
      .map((one) => one * 2)
      .iterate(edges)) {
      seen.push(n);
      if (n === 8) break;
    }
    expect(seen).toEqual([0, 2, 4, 6, 8]);
    expect(source.returned).toBe(1);
    expect(await Array.fromAsync(rig.from([1, 2]))).toEqual([1, 2]);
  });

  it("rejects from collect and iterate with what ended the run", async () => {
    const rig = new Rig();
    const line = rig.from(numbers(9)).map((n) => {
      if (n === 5) throw new Error("five");
      return n;
    });
    await expect(rig.pump(line.collect(edges))).rejects.toMatchObject({ details: { offset: 5 } });
    const seen: number[] = [];
    await expect(
      (async () => {
        for await (const n of line.iterate(edges)) seen.push(n);
      })(),
    ).rejects.toMatchObject({ details: { offset: 5 } });
    expect(seen).toEqual(numbers(5));
    const signal = AbortSignal.abort("away");
    await expect(rig.pump(line.collect({ ...edges, signal }))).rejects.toBe("away");
  });

  it("can be run again, and twice at a time", async () => {
    const rig = new Rig();
    const sums: number[] = [];
    const line = rig
      .from(numbers(50))
      .tee((branch) => branch.sink(async () => turn()))
      .batch(50);
    const run = line.sink((all) => void sums.push(all.length));
    const results = await rig.pump(Promise.all([run.run(edges), run.run(edges)]));
    expect(results.map(({ itemsOut }) => itemsOut)).toEqual([51, 51]);
    expect(sums).toEqual([50, 50]);
  });
});

/** Bytes and numbers, for a pipeline of both. */
const bytesCodec = {
  name: "bytes",
  encode: (value: unknown) =>
    value instanceof Uint8Array ? value : Uint8Array.of(value as number),
  decode: (bytes: Uint8Array): unknown => bytes,
};

describe("Pipeline refuses", () => {
  const rig = new Rig();
  const line = rig.from([1]);

  it.each([
    ["a stage without a function", () => line.map(undefined as never)],
    ["an unknown option of a stage", () => line.map(String, { retries: 2 } as never)],
    ["a policy that is none", () => line.map(String, { retry: -1 })],
    ["dead letters that are none", () => line.map(String, { deadLetter: {} as never })],
    ["a name that is empty", () => line.map(String, { name: "" })],
    ["a codec that is none", () => line.map(String, { codec: {} as never })],
    ["batches of nothing", () => line.batch(0)],
    ["batches of a fraction", () => line.batch(1.5)],
    ["no item at a time", () => line.parallel(0)],
    ["an unknown option of parallel", () => line.parallel(2, { order: true } as never)],
    ["parallel before a batch", () => line.parallel(2).batch(2)],
    ["parallel before a tee", () => line.parallel(2).tee((side) => side.sink(() => {}))],
    ["parallel before a merge", () => line.parallel(2).merge(line)],
    ["parallel before a stream", () => line.parallel(2).sink(new WritableStream())],
    ["a tee without a sink", () => line.tee((side) => side as never)],
    ["a merge with what is no pipeline", () => line.merge([1] as never)],
    ["a sink that is none", () => line.sink({} as never)],
  ])("%s", (_what, make) => {
    expect(make).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it.each([
    [{ edges: "wires" }],
    [{ capacity: 0 }],
    [{ stride: 0.5 }],
    [{ ttlMs: 0 }],
    [{ chunkItems: 0 }],
    [{ deadlineMs: -1 }],
    [{ drainMs: Number.NaN }],
    [{ graceMs: Infinity }],
    [{ fromOffset: -1 }],
    [{ signal: {} }],
    [{ stop: true }],
    [{ onEvent: "log" }],
    [{ fabric: {} }],
    [{ renewals: true }],
    [{ codec: "json" }],
    [{ speed: "high" }],
    [null],
  ])("options %j", async (options) => {
    const run = line.sink(() => {});
    await expect(run.run(options as never)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("two stages of one name", async () => {
    const run = line.map(String, { name: "x" }).filter(Boolean, { name: "x" });
    await expect(run.collect()).rejects.toMatchObject({ code: "CONFLICT", details: { name: "x" } });
  });

  it("a side branch that is run by itself", async () => {
    const ends: RunnablePipeline[] = [];
    line.tee((side) => {
      const end = side.sink(() => {});
      ends.push(end);
      return end;
    });
    await expect(ends[0]?.run()).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
