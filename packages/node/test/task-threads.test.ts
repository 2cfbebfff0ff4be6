import { isFabricError, type MemLease } from "@selvage/fabric";
import type { TaskHost, TaskReply, TaskRequest } from "@selvage/leasekit";
import { Fabric, openTaskThreads, type TaskThreads } from "@selvage/node";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, describe, expect, it } from "vitest";
import { body, inline } from "./executor-rig.ts";

const fabric = Fabric.open({ memoryBytes: 1 << 20 });
afterAll(() => fabric[Symbol.dispose]());

interface Asked {
  readonly reply: Promise<TaskReply>;
  readonly started: Promise<number>;
  readonly logged: Promise<string>;
  readonly text: Promise<string>;
  abort(): void;
  terminate(): void;
}

/** Has the pool run a module with one raw output, `y`. */
function ask(pool: TaskThreads, module: URL, outputs: readonly string[] = []): Asked {
  const started = Promise.withResolvers<number>();
  const logged = Promise.withResolvers<string>();
  const leases: MemLease[] = [];
  const host: TaskHost = {
    started: started.resolve,
    acquire(_output, bytes) {
      const lease = fabric.mem().minBytes(bytes).leaseSecs(60).acquire();
      leases.push(lease);
      return { number: leases.length - 1, ticket: lease.ticket() };
    },
    progress() {},
    log: logged.resolve,
  };
  const request: TaskRequest = {
    ...{ module: module.href, task: "t", attempt: 1, epoch: 1, fabric: fabric.ticket() },
    ...{ inputs: [], outputs: outputs.map((name) => ({ name, format: "raw" })) },
  };
  const running = pool.run(request, host);
  const text = running.reply.then(({ outputs: [made] }) => {
    const bytes = leases[made?.allocation ?? 0]?.read(0, made?.bytes ?? 0) ?? new Uint8Array(0);
    for (const lease of leases) lease.release();
    return new TextDecoder().decode(bytes);
  });
  // Whoever wants to know looks at them.
  running.reply.catch(() => {});
  text.catch(() => {});
  return {
    ...{ reply: running.reply, started: started.promise, logged: logged.promise, text },
    abort: () => running.abort("enough"),
    terminate: () => running.terminate(),
  };
}

const codeOf = async ({ reply }: Asked): Promise<string> =>
  reply.then(
    () => "done",
    (thrown: unknown) => (isFabricError(thrown) ? thrown.code : String(thrown)),
  );
const threadOf = (pool: TaskThreads): Promise<string> => ask(pool, body("thread"), ["y"]).text;
const idle = inline("export default () => {}");

let channels = 0;

/** A module that is heard of when a thread imports it, and then does what `more` says. */
function heard(more = ""): { readonly module: URL; readonly heard: Promise<void> } {
  const name = `imported ${++channels}`;
  const channel = new BroadcastChannel(name);
  const { promise, resolve } = Promise.withResolvers<void>();
  channel.addEventListener("message", () => {
    channel.close();
    resolve();
  });
  const source = `new BroadcastChannel("${name}").postMessage(0); ${more}\nexport default () => {}`;
  return { module: inline(source), heard: promise };
}

/** Waits for what comes by itself. */
async function until(isSo: () => boolean): Promise<void> {
  for (let waitedMs = 0; !isSo(); waitedMs += 5) {
    if (waitedMs > 30_000) throw new Error("it does not come");
    await delay(5);
  }
}

describe("A pool of threads", () => {
  it("keeps a thread warm from request to request", async () => {
    await using pool = openTaskThreads({ threads: 1 });
    pool.warm(5);
    expect(pool.stats).toEqual({ threads: 1, working: 0, queued: 0 });
    const first = await threadOf(pool);
    expect(await threadOf(pool)).toBe(first);
  });

  it.each<[what: string, module: URL, code: string, heapMiB?: number]>([
    ["throws", body("throws"), "DECODE"],
    ["exits", body("exit"), "DISCONNECTED"],
    ["throws in a timer", body("uncaught"), "DISCONNECTED"],
    ["runs out of memory", body("hoards"), "DISCONNECTED", 32],
  ])(
    "loses one request, and one thread at most, to a body that %s",
    async (_what, module, code, heapMiB) => {
      await using pool = openTaskThreads({
        threads: 1,
        ...(heapMiB === undefined ? {} : { heapMiB }),
      });
      const lost = ask(pool, module);
      const after = threadOf(pool);
      expect(await codeOf(lost)).toBe(code);
      expect(await after).toMatch(/^\d+$/);
      expect(pool.stats.threads).toBe(1);
    },
  );

  it("tells why a thread ran out of memory", async () => {
    await using pool = openTaskThreads({ threads: 1, heapMiB: 32 });
    await expect(ask(pool, body("hoards")).reply).rejects.toMatchObject({
      cause: { code: "ERR_WORKER_OUT_OF_MEMORY" },
    });
  });

  it("ends a thread in an endless loop, and goes on with another", async () => {
    await using pool = openTaskThreads({ threads: 1 });
    const looping = ask(pool, body("endless"));
    const after = threadOf(pool);
    await looping.logged;
    looping.terminate();
    expect(await codeOf(looping)).toBe("DISCONNECTED");
    expect(await after).toMatch(/^\d+$/);
  });

  it("does not lose a request to what an earlier one left to happen on its thread", async () => {
    await using pool = openTaskThreads({ threads: 1 });
    for (let round = 0; round < 5; round++) {
      // The thread is gone when the next request comes to it, or goes before that has begun.
      const leaving = inline(
        `export default () => { queueMicrotask(() => setImmediate(() => process.exit(1))) } // ${round}`,
      );
      await ask(pool, leaving).reply;
      const next = ask(pool, idle);
      const code = await codeOf(next);
      const hasStarted = await Promise.race([next.started.then(() => true), delay(0, false)]);
      expect([code, hasStarted]).toEqual(["done", true]);
    }
  });

  it("takes a reply that a thread gave just before its end", async () => {
    await using pool = openTaskThreads({ threads: 1 });
    const ending = inline("export default () => { process.nextTick(() => process.exit(1)) }");
    for (let round = 0; round < 5; round++) {
      const ended = ask(pool, ending);
      await ended.started;
      // Both pieces of news wait for this thread when it looks again.
      const untilMs = performance.now() + 100;
      while (performance.now() < untilMs);
      expect(await codeOf(ended)).toBe("done");
    }
  });

  it("imports modules ahead, and has their own requests hear of what came of it", async () => {
    await using pool = openTaskThreads({ threads: 1 });
    const failing = inline("throw new Error('none of it')");
    const first = heard();
    const second = heard();
    pool.warm(1, [failing, first.module, second.module].map(String));
    await Promise.all([first.heard, second.heard]);
    // Nothing is imported twice: what it does then, it has done.
    expect(await codeOf(ask(pool, second.module))).toBe("done");
    await expect(ask(pool, failing).reply).rejects.toThrow("none of it");
  });

  it("does not lose a request to a module that ended its thread when it was imported ahead", async () => {
    for (let round = 0; round < 3; round++) {
      await using pool = openTaskThreads({ threads: 1 });
      // Its thread is gone before it has seen what it is sent.
      const leaving = heard(
        "const untilMs = performance.now() + 300; while (performance.now() < untilMs); process.exit(1)",
      );
      pool.warm(1, [leaving.module.href]);
      await leaving.heard;
      expect(await codeOf(ask(pool, idle))).toBe("done");
      expect(await codeOf(ask(pool, leaving.module))).toBe("DISCONNECTED");
    }
  });

  it("refuses counts that are none", () => {
    for (const options of [{ threads: 0 }, { threads: 1.5 }, { heapMiB: 0 }])
      expect(() => openTaskThreads(options)).toThrow(/expected a whole number from 1 up/);
  });
});

describe("Resizing a pool", () => {
  it("has requests wait while there is no thread, and serves them when there is", async () => {
    await using pool = openTaskThreads({ threads: 2 });
    pool.warm(2);
    await pool.resize(0);
    const waiting = ask(pool, idle);
    expect(pool.stats).toEqual({ threads: 0, working: 0, queued: 1 });
    await pool.resize(1);
    expect(await codeOf(waiting)).toBe("done");
  });

  it("takes threads away from their requests, idle ones first", async () => {
    await using pool = openTaskThreads({ threads: 3 });
    const requests = [ask(pool, body("listening")), ask(pool, body("listening"))];
    await Promise.all(requests.map(({ logged }) => logged));
    pool.warm(3);
    await pool.resize(2);
    expect(pool.stats).toEqual({ threads: 2, working: 2, queued: 0 });
    await pool.resize(1);
    expect(pool.stats).toEqual({ threads: 1, working: 1, queued: 0 });
    for (const request of requests) request.abort();
    expect((await Promise.all(requests.map(codeOf))).toSorted()).toEqual([
      "AbortError: enough",
      "DISCONNECTED",
    ]);
  });

  it("lets a request end within the grace, and its thread after it", async () => {
    await using pool = openTaskThreads({ threads: 1 });
    const working = ask(pool, body("listening"));
    await working.logged;
    const resized = pool.resize(0, 60_000);
    expect(pool.stats.threads).toBe(1);
    working.abort();
    await resized;
    expect([await codeOf(working), pool.stats.threads]).toEqual(["AbortError: enough", 0]);
  });

  it("ends a request that does not end within the grace", async () => {
    await using pool = openTaskThreads({ threads: 1 });
    const looping = ask(pool, body("endless"));
    await looping.logged;
    await pool.resize(0, 20);
    expect([await codeOf(looping), pool.stats.threads]).toEqual(["DISCONNECTED", 0]);
  });

  it("refuses what is no count, and no time", async () => {
    await using pool = openTaskThreads();
    await expect(pool.resize(-1)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(pool.resize(1, -1)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(pool.drain(Number.NaN)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("Draining a pool", () => {
  it("lets what it has end, takes nothing new, and ends its threads", async () => {
    await using pool = openTaskThreads({ threads: 1 });
    const requests = [ask(pool, idle), ask(pool, idle), ask(pool, idle)];
    const drained = pool.drain(60_000);
    expect(await codeOf(ask(pool, idle))).toBe("DISCONNECTED");
    expect(await drained).toBe(0);
    expect(await Promise.all(requests.map(codeOf))).toEqual(["done", "done", "done"]);
    expect(pool.stats).toEqual({ threads: 0, working: 0, queued: 0 });
  });

  it("cuts off at its deadline what is still at work or waits, and says how much", async () => {
    await using pool = openTaskThreads({ threads: 1 });
    const looping = ask(pool, body("endless"));
    const queued = ask(pool, idle);
    await looping.logged;
    expect(await pool.drain(20)).toBe(2);
    expect(await Promise.all([looping, queued].map(codeOf))).toEqual([
      "DISCONNECTED",
      "DISCONNECTED",
    ]);
    expect(pool.stats.threads).toBe(0);
  });

  it("starts no thread for what comes after its close", async () => {
    const pool = openTaskThreads({ threads: 2 });
    await pool.close();
    pool.warm(2);
    expect(pool.stats.threads).toBe(0);
  });

  it("leaves no lease, whatever its threads did", async () => {
    await until(() => fabric.stats().memory.freeBytes === fabric.stats().memory.capacityBytes);
    expect(fabric.leases()).toEqual([]);
  });
});

it("a request that has begun is not begun again, though its owner hears of the thread's end first", async () => {
  const folder = mkdtempSync(join(tmpdir(), "selvage-threads-"));
  try {
    await using pool = openTaskThreads({ threads: 1 });
    // A thread with a past: what it has not begun may be another one's.
    await ask(pool, idle).reply;
    for (let time = 0; time < 8; time++) {
      const log = join(folder, String(time));
      const module = inline(
        `import { appendFileSync } from "node:fs";
        export default () => { appendFileSync(${JSON.stringify(log)}, "begun "); process.exit(7); }`,
      );
      // This loop turns so seldom that the thread's start and its end are heard of together.
      const spinning = setInterval(() => {
        for (const untilMs = performance.now() + 30; performance.now() < untilMs;);
      }, 1);
      const asked = ask(pool, module);
      const code = await codeOf(asked);
      clearInterval(spinning);
      expect([code, readFileSync(log, "utf8")]).toEqual(["DISCONNECTED", "begun "]);
      await ask(pool, idle).reply;
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
