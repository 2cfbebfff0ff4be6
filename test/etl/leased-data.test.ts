import { existsSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import {
  isFabricError,
  viewColumns,
  type ExecutionEvent,
  type ExecutionResult,
  type Fabric,
  type LeaseEvent,
  type MemLease,
} from "selvage";
import { describe, expect, it } from "vitest";
import { iataOf } from "../../examples/etl/airport-code.ts";
import { compareDatabase } from "./compare.ts";
import { computeExpected, locateData } from "./oracle.ts";
import { Folder, ROWS, runJson, runWithin } from "./rig.ts";

const timeout = 60_000;
const expected = computeExpected({ ...locateData(), rows: ROWS });

interface Flip {
  readonly column: "delay" | "distance";
  readonly row: number;
  origin?: string;
  route?: string;
}

/** Flips the lowest bit of one value in the lease of the flights. */
function flip(fabric: Fabric, told: Flip): void {
  const lease = fabric.leases().find(({ label }) => label === "extract/flights") as MemLease;
  const at = lease.with((view) => {
    const bytes = view as Uint8Array;
    const { origin, destination, ...columns } = viewColumns(bytes);
    const [from, to] = [origin, destination].map((codes) => iataOf(Number(codes?.[told.row])));
    told.origin = from ?? "";
    told.route = `${from} ${to}`;
    const column = columns[told.column] as Int16Array;
    return column.byteOffset - bytes.byteOffset + told.row * column.BYTES_PER_ELEMENT;
  });
  const [byte = 0] = lease.read(at, 1);
  lease.write(at, Uint8Array.of(byte ^ 1));
}

/** What is wrong with the tables of a run in which that is flipped between the first two waves. */
async function runFlipped(told: Flip | undefined): Promise<string[]> {
  using folder = new Folder();
  const { job, result } = await runWithin({
    out: folder.path,
    options: (fabric) => ({
      teardown: "eager",
      onEvent(event) {
        const isBetween = event.type === "wave" && event.index === 1 && event.state === "started";
        if (isBetween && told !== undefined) flip(fabric, told);
      },
    }),
  });
  expect(result.status).toBe("succeeded");
  return compareDatabase(job.database, await expected);
}

describe("a byte of the flights' lease that changes between waves", { timeout }, () => {
  it("is not needed for the tables to be right", async () => {
    expect(await runFlipped(undefined)).toEqual([]);
  });

  it("changes the means of its airport and of its route, and nothing else", async () => {
    const told: Flip = { column: "delay", row: 0 };
    const differences = await runFlipped(told);
    expect(differences.map((difference) => difference.split(":")[0])).toEqual([
      `airport_delays ${told.origin}.mean_delay_min`,
      `route_delays ${told.route}.mean_delay_min`,
    ]);
  });

  it("changes the distance of its route", async () => {
    const told: Flip = { column: "distance", row: ROWS - 1 };
    const differences = await runFlipped(told);
    expect(differences.map((difference) => difference.split(":")[0])).toEqual([
      `route_delays ${told.route}.distance_miles`,
    ]);
  });
});

describe("the main job's leases under teardown by expiry", { timeout }, () => {
  it("all expire, none before its time on the real clock, and their bytes come back zeroed", async () => {
    using folder = new Folder();
    using delay = monitorEventLoopDelay({ resolution: 5 });
    const ttlMs = 400;
    const memoryBytes = 8 * 2 ** 20;
    const heard: { event: LeaseEvent["event"]; seenMs: number }[] = [];
    let zeroed: number | undefined;
    let tickMs = 0;
    const { result } = await runWithin({
      out: folder.path,
      memoryBytes,
      options: () => ({
        ttlMs,
        onEvent(told: ExecutionEvent) {
          if (told.type === "settled") delay.enable();
          if (told.type === "lease") heard.push({ event: told.event, seenMs: Date.now() });
        },
      }),
      after(fabric) {
        ({ tickMs } = fabric.options);
        const all = fabric.mem().minBytes(memoryBytes).acquire();
        zeroed = all.with((view) => {
          const bytes = view as Uint8Array;
          return bytes.findIndex((byte) => byte !== 0) < 0 ? bytes.length : 0;
        });
      },
    });
    delay.disable();
    expect(result.status).toBe("succeeded");
    const { leases, bytes } = result;
    expect(leases).toEqual({
      granted: 5,
      expired: 5,
      released: 0,
      revoked: 0,
      fenced: 0,
      active: 0,
    });
    expect(bytes).toMatchObject({ returned: bytes.leased, kept: 0, fenced: 0, active: 0 });
    expect(bytes.leased).toBeGreaterThanOrEqual(12 * ROWS);
    const expired = heard.filter(({ event }) => event.type === "expired");
    expect(expired).toHaveLength(5);
    for (const { event, seenMs } of expired)
      expect(seenMs).toBeGreaterThanOrEqual(event.expiresAtMs);
    expect(zeroed).toBe(memoryBytes);
    // The slack is what this process was held up for, by its own event loop's word.
    const slackMs = 20 + 2 * (delay.max / 1e6);
    expect(result.teardownMs).toBeLessThanOrEqual(ttlMs + 2 * tickMs + slackMs);
    expect(result.teardownMs).toBeGreaterThan(ttlMs / 10);
  });

  it("are all released, long before their TTL, when the teardown is eager", async () => {
    using folder = new Folder();
    const ttlMs = 30_000;
    const { result } = await runWithin({
      out: folder.path,
      options: () => ({ ttlMs, teardown: "eager" }),
    });
    const { leases, bytes, teardownMs } = result;
    expect(leases).toEqual({
      granted: 5,
      expired: 0,
      released: 5,
      revoked: 0,
      fenced: 0,
      active: 0,
    });
    expect(bytes.returned).toBe(bytes.leased);
    expect(teardownMs).toBeLessThan(ttlMs / 10);
  });
});

/** Holds this thread up, as a long synchronous decode does. */
function block(ms: number, meanwhile?: () => void): void {
  const untilMs = performance.now() + ms;
  const words = new Int32Array(new SharedArrayBuffer(4));
  while (performance.now() < untilMs) {
    Atomics.wait(words, 0, 0, 20);
    meanwhile?.();
  }
}

const codesOf = ({ tasks }: ExecutionResult): (string | undefined)[][] =>
  tasks.map(({ errors }) =>
    errors.map(({ error }) => (isFabricError(error) ? error.code : undefined)),
  );

const ttlMs = 250;
/** Runs the job with its extract blocked once its flights are in their lease. */
async function runBlocked(
  blockMs: number,
  how: { renewals?: false; stallMs?: number; isTelling?: boolean },
): Promise<ExecutionResult & { hasDatabase: boolean }> {
  using folder = new Folder();
  const { isTelling, ...options } = how;
  const { job, result } = await runWithin({
    out: folder.path,
    options: (fabric) => ({
      ...options,
      ttlMs,
      onEvent(event) {
        // After the flights are in their lease, before the attempt has ended.
        if (event.type === "progress" && event.name === "extract")
          block(blockMs, isTelling === true ? () => fabric.progress() : undefined);
      },
    }),
  });
  return { ...result, hasDatabase: existsSync(job.database) };
}

describe("an extract that blocks its thread for longer than the TTL", { timeout }, () => {
  it("keeps its lease, which is renewed beside it", async () => {
    const result = await runBlocked(4 * ttlMs, {});
    expect([result.status, result.hasDatabase]).toEqual(["succeeded", true]);
    expect(result.renewals).toBeGreaterThan(0);
    expect(result.elapsedMs).toBeGreaterThan(4 * ttlMs);
  });

  it("loses it where nothing renews: every attempt ends LEASE_EXPIRED, and the run says so", async () => {
    const result = await runBlocked(2 * ttlMs, { renewals: false });
    expect([result.status, result.failed, result.skipped]).toEqual(["failed", 1, 3]);
    expect(codesOf(result)).toEqual([Array(3).fill("LEASE_EXPIRED"), [], [], []]);
    expect(result.tasks.map(({ because }) => because)).toEqual([
      undefined,
      ...Array(3).fill("extract"),
    ]);
    expect(result.leases).toMatchObject({ granted: 3, expired: 3, active: 0 });
    expect([result.renewals, result.hasDatabase]).toEqual([0, false]);
  });

  it("loses it when it is silent past stallMs", async () => {
    const result = await runBlocked(6 * ttlMs, { stallMs: ttlMs });
    expect(result.status).toBe("failed");
    expect(codesOf(result)[0]).toEqual(Array(3).fill("LEASE_EXPIRED"));
  });

  it("keeps it for as long when it says that it advances", async () => {
    // Longer than the job is silent by itself on a busy machine.
    const result = await runBlocked(16 * ttlMs, { stallMs: 8 * ttlMs, isTelling: true });
    expect([result.status, result.tasks[0]?.attempts]).toEqual(["succeeded", 1]);
  });
});

describe("npm run etl -- --ttl-ms 300", { timeout }, () => {
  it("succeeds although the work takes several TTLs", async () => {
    using folder = new Folder();
    const args = ["--rows", "1000000", "--ttl-ms", "300", "--out", folder.path];
    const { code, document } = await runJson(...args);
    expect([code, document.status], JSON.stringify(document.tasks)).toEqual([0, "succeeded"]);
    expect(document.renewals).toBeGreaterThan(0);
    expect(document.elapsedMs).toBeGreaterThan(600);
    expect(document.leases).toMatchObject({ granted: 5, expired: 5, released: 0, active: 0 });
  });
});
