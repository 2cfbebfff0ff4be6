import type { FabricError } from "@selvage/fabric";
import { EPOCH_MAX } from "@selvage/fence";
import { LeaseAuthority, type AuthorityOptions, type GrantRequest } from "@selvage/leasekit";
import { expect, test } from "vitest";
import { GrantBook } from "../src/grant-book.ts";
import { Blocks, Machine, turns } from "./lease-rig.ts";

const ttlMs = 1_000;
const ask = (holder: string, requestId = `${holder}-1`): GrantRequest => ({
  resource: "orders",
  holder,
  requestId,
  ttlMs,
});
const named = (holder: string, epoch: number) => ({ resource: "orders", holder, epoch });
/** TTL * 1.1, the lock delay of three ticks, and the tick that sees it. */
const untilFreeMs = 1_100 + 150 + 50;

async function rig(options: AuthorityOptions = {}, blocks = new Blocks(), machine = new Machine()) {
  const ports = { clock: machine, timer: machine };
  const authority = await LeaseAuthority.open(blocks, ports, options);
  const reopen = () => LeaseAuthority.open(blocks.crash(), ports, options);
  return { authority, blocks, machine, ports, reopen };
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "done";
  } catch (error) {
    return (error as FabricError).code;
  }
}

test("L1: epochs rise over release, expiry and restart", async () => {
  const { authority, machine, reopen } = await rig();
  expect(await authority.acquire(ask("a"))).toEqual({ epoch: 1, ttlMs });
  await authority.release(named("a", 1));
  expect((await authority.acquire(ask("b"))).epoch).toBe(2);
  await machine.pass(untilFreeMs);
  expect((await authority.acquire(ask("c"))).epoch).toBe(3);
  const again = await reopen();
  await machine.pass(untilFreeMs);
  expect((await again.acquire(ask("d"))).epoch).toBe(4);
});

test("L1: after the last epoch there is no next one", () => {
  const rules = { rho: 0.1, lockDelayMs: 150, bytesMax: 1_000 };
  const stored = `[["orders",${EPOCH_MAX},"a","a-1",1000,2]]`;
  const book = new GrantBook(rules, new TextEncoder().encode(stored), 0);
  expect(() => book.grant(ask("b"), 0)).toThrow(expect.objectContaining({ code: "EXHAUSTED" }));
});

test("L1: a request that comes again gets the epoch that it got, and renews it", async () => {
  const { authority, machine, reopen } = await rig();
  await authority.acquire(ask("a"));
  await machine.pass(1_000);
  expect((await authority.acquire(ask("a"))).epoch).toBe(1);
  await machine.pass(1_000);
  expect(await codeOf(authority.acquire(ask("b")))).toBe("CONFLICT");
  expect((await (await reopen()).acquire(ask("a"))).epoch).toBe(1);
  await machine.pass(untilFreeMs);
  // Its lease is over: the same request is not granted a second one.
  expect(await codeOf(authority.acquire(ask("a")))).toBe("LEASE_EXPIRED");
});

test("L2: nobody hears of a grant before it is durable", async () => {
  const { authority, blocks, reopen } = await rig();
  const { promise, resolve } = Promise.withResolvers<void>();
  blocks.onWrite = () => promise;
  let isAnswered = false;
  const granted = authority.acquire(ask("a")).then(() => (isAnswered = true));
  await turns();
  expect(isAnswered).toBe(false);
  const afterCrash = await (await reopen()).look("orders");
  expect(afterCrash).toEqual({ epoch: 0, state: "free", holder: undefined });
  resolve();
  await granted;
  expect(await (await reopen()).look("orders")).toMatchObject({ epoch: 1, holder: "a" });
});

test("L2: requests that wait for one write share the next", async () => {
  const { authority, blocks } = await rig();
  let writes = 0;
  blocks.onWrite = async () => void writes++;
  const resources = ["one", "two", "three", "four"];
  await Promise.all(resources.map((resource) => authority.acquire({ ...ask("a"), resource })));
  expect(writes).toBe(1);
});

test("L3: the next grant waits for TTL * (1 + rho) and the lock delay after the last renewal", async () => {
  const { authority, machine } = await rig();
  await authority.acquire(ask("a"));
  await machine.pass(900);
  expect(await authority.renew(named("a", 1))).toEqual({ ttlMs });
  await machine.pass(1_249);
  const refused = authority.acquire(ask("b"));
  await expect(refused).rejects.toMatchObject({ code: "CONFLICT", details: { retryAfterMs: 1 } });
  await machine.pass(51);
  expect((await authority.acquire(ask("b"))).epoch).toBe(2);
});

test("L3: after a restart every lease has its whole time again", async () => {
  const { authority, machine, reopen } = await rig();
  await authority.acquire(ask("a"));
  await machine.pass(1_200);
  const again = await reopen();
  await machine.pass(1_240);
  expect(await codeOf(again.acquire(ask("b")))).toBe("CONFLICT");
  await machine.pass(100);
  expect((await again.acquire(ask("b"))).epoch).toBe(2);
});

test("L3: a revoked lease is not renewed, and the next grant waits for its holder all the same", async () => {
  const { authority, machine, reopen } = await rig();
  await authority.acquire(ask("a"));
  await authority.revoke({ resource: "orders", epoch: 1 });
  expect(await codeOf(authority.renew(named("a", 1)))).toBe("REVOKED");
  expect(await codeOf(authority.acquire(ask("b")))).toBe("CONFLICT");
  expect(await (await reopen()).look("orders")).toMatchObject({ state: "revoked" });
  await machine.pass(untilFreeMs);
  expect((await authority.acquire(ask("b"))).epoch).toBe(2);
});

test("L4: renewing and releasing compare holder and epoch, zero too, and bring nothing back", async () => {
  const { authority, machine } = await rig();
  expect(await codeOf(authority.renew(named("a", 0)))).toBe("NOT_FOUND");
  await authority.acquire(ask("a"));
  for (const act of ["renew", "release"] as const) {
    expect(await codeOf(authority[act](named("a", 0)))).toBe("STALE_EPOCH");
    expect(await codeOf(authority[act](named("b", 1)))).toBe("STALE_EPOCH");
    expect(await codeOf(authority[act](named("a", 2)))).toBe("NOT_FOUND");
  }
  await machine.pass(untilFreeMs);
  expect(await codeOf(authority.renew(named("a", 1)))).toBe("LEASE_EXPIRED");
  await authority.acquire(ask("b"));
  expect(await codeOf(authority.renew(named("a", 1)))).toBe("STALE_EPOCH");
  expect(await codeOf(authority.release(named("a", 1)))).toBe("STALE_EPOCH");
  expect(await authority.look("orders")).toMatchObject({ state: "held", holder: "b" });
});

test("L4: releasing twice is releasing once", async () => {
  const { authority } = await rig();
  await authority.acquire(ask("a"));
  await authority.release(named("a", 1));
  await authority.release(named("a", 1));
  expect(await codeOf(authority.renew(named("a", 1)))).toBe("LEASE_EXPIRED");
});

test("L5: two that wait for one resource do not both get it", async () => {
  const { authority, blocks } = await rig();
  const { promise, resolve } = Promise.withResolvers<void>();
  blocks.onWrite = () => promise;
  const answers = ["x", "a", "b"].map((holder) =>
    codeOf(authority.acquire({ ...ask(holder), resource: holder === "x" ? "x" : "orders" })),
  );
  await turns();
  resolve();
  expect((await Promise.all(answers)).toSorted()).toEqual(["CONFLICT", "done", "done"]);
});

test("L6: a renewal that waited through a stall is counted before its lease ends", async () => {
  const ended: number[] = [];
  const { authority, machine } = await rig({ onExpired: ({ epoch }) => void ended.push(epoch) });
  await authority.acquire(ask("a"));
  await machine.pass(1_200);
  machine.stall(3_000);
  await machine.pass(1); // the tick rings first
  const other = codeOf(authority.acquire(ask("b")));
  const renewed = codeOf(authority.renew(named("a", 1)));
  expect([await other, await renewed]).toEqual(["CONFLICT", "done"]);
  await machine.pass(1_000);
  expect(ended).toEqual([]);
});

test("L6: for two ticks after a stall nothing ends, though its time has come", async () => {
  const { authority, machine } = await rig();
  await authority.acquire(ask("a"));
  await machine.pass(1_250);
  machine.stall(3_000);
  await machine.pass(1);
  expect(await authority.renew(named("a", 1))).toEqual({ ttlMs });
});

test("L6: an authority that was replaced answers nobody, and says why", async () => {
  const { authority, blocks, ports } = await rig();
  await authority.acquire(ask("a"));
  const successor = await LeaseAuthority.open(blocks, ports);
  expect(await codeOf(authority.renew(named("a", 1)))).toBe("STORE_UNAVAILABLE");
  expect(await codeOf(authority.revoke({ resource: "orders", epoch: 1 }))).toBe(
    "STORE_UNAVAILABLE",
  );
  expect(await authority.stopped).toMatchObject({ code: "STALE_EPOCH" });
  expect(await successor.renew(named("a", 1))).toEqual({ ttlMs });
});

test("L7: a jump of the authority's clock ends no lease", async () => {
  const { authority, machine } = await rig();
  await authority.acquire(ask("a"));
  machine.stall(3_600_000);
  await machine.pass(500);
  expect(await codeOf(authority.acquire(ask("b")))).toBe("CONFLICT");
  expect(await authority.renew(named("a", 1))).toEqual({ ttlMs });
});

test("L8: a thousand leases that end leave one timer, and room for the next", async () => {
  const { authority, machine } = await rig();
  for (let epoch = 1; epoch <= 1_000; epoch++) {
    expect((await authority.acquire(ask("a", `r${epoch}`))).epoch).toBe(epoch);
    if (epoch % 100 === 0) await machine.pass(untilFreeMs);
    else await authority.release(named("a", epoch));
  }
  expect(machine.timers).toBe(1);
  await authority.close();
  expect(machine.timers).toBe(0);
});

test("J4: a failed write stops the authority; the next one finds the old state or the new", async () => {
  const { authority, blocks, ports } = await rig();
  await authority.acquire(ask("a"));
  blocks.onWrite = () => Promise.reject(new Error("EIO"));
  expect(await codeOf(authority.release(named("a", 1)))).toBe("STORE_UNAVAILABLE");
  blocks.onWrite = async () => {};
  expect(await codeOf(authority.renew(named("a", 1)))).toBe("STORE_UNAVAILABLE");
  const again = await LeaseAuthority.open(blocks, ports);
  expect(await again.renew(named("a", 1))).toEqual({ ttlMs });
});

test("a grant that would not fit is refused, and the ones before stand", async () => {
  const { authority } = await rig({}, new Blocks(2));
  let granted = 0;
  const code = await (async () => {
    for (;;) {
      const answer = await codeOf(authority.acquire({ ...ask("a"), resource: `r${granted}` }));
      if (answer !== "done") return answer;
      granted++;
    }
  })();
  expect(code).toBe("CAPACITY_EXCEEDED");
  expect(granted).toBeGreaterThan(5);
  expect(await authority.renew({ ...named("a", 1), resource: "r0" })).toEqual({ ttlMs });
});

test("LeaseAuthority.open() refuses a lock delay that a short stall would outlast", async () => {
  await expect(rig({ lockDelayMs: 149 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(rig({ tickMs: 400 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});
