/* oxlint-disable vitest/no-standalone-expect -- called from inside tests only */
/** Races between an owner that ends and re-leases and a worker that goes on; each round counts what it saw. */
import { expect } from "vitest";
import { PASSED } from "./fabric-worker.ts";
import { Hand, isQuiet, tickUntil, type Kind, openFabric } from "./fabric-hand.ts";

const bytes = 256;
const own = 0x11;
const next = 0x22;

/**
 * A3: the worker writes as fast as it can; the owner lets the lease lapse, and the whole arena goes to the next tenant
 * once it is free. Whatever the worker still does, the next tenant reads zeroes, then its own bytes.
 */
export async function lateHolderRounds(kind: Kind, rounds: number): Promise<number> {
  using fabric = openFabric(kind, { memoryBytes: bytes });
  const hand = new Hand();
  let passed = 0;
  try {
    for (let round = 0; round < rounds; round++) {
      const lease = fabric.mem().minBytes(bytes).leaseMs(10).acquire();
      lease.write(0, new Uint8Array(bytes).fill(own));
      await hand.attach(lease.ticket());
      const { flags, answer } = await hand.enter("hammer");
      // By expiry, release and revocation in turn.
      if (round % 3 === 0) fabric.tick(lease.expiresAtMs);
      else if (round % 3 === 1) lease.release();
      else lease.revoke();
      await tickUntil(fabric, isQuiet(fabric));
      const after = fabric.mem().minBytes(bytes).leaseMs(1_000).acquire();
      expect(after.read(0, bytes), `round ${round}: A2`).toEqual(new Uint8Array(bytes));
      after.write(0, new Uint8Array(bytes).fill(next));
      const { value, code } = await answer;
      expect(code).toBeNull();
      expect(value, `round ${round}: A3: the late holder read the next tenant`).not.toBe(-1);
      expect(after.read(0, bytes), `round ${round}: A3: the late holder wrote`).toEqual(
        new Uint8Array(bytes).fill(next),
      );
      passed += Atomics.load(flags, PASSED);
      after.release();
    }
  } finally {
    await hand.end();
  }
  return passed;
}

/** L4: a renewal on the worker races the owner's tick at the deadline. Counts who won. */
export async function renewalRounds(
  kind: Kind,
  rounds: number,
): Promise<{ renewed: number; expired: number }> {
  using fabric = openFabric(kind);
  const hand = new Hand();
  const outcomes = { renewed: 0, expired: 0 };
  try {
    for (let round = 0; round < rounds; round++) {
      const lease = fabric.mem().leaseMs(10).acquire();
      const { expiresAtMs } = lease;
      await hand.attach(lease.ticket());
      const answer = hand.ask({ do: "renew", value: 10_000 });
      // A few turns of work put the tick before, into and after the worker's renewal.
      for (let turn = 0; turn < (round % 64) * 50; turn++) Math.imul(turn, turn);
      fabric.tick(expiresAtMs);
      const { value, code } = await answer;
      // One outcome: renewed here and standing there, or refused here and expired there.
      if (code === null) {
        expect([lease.state, lease.expiresAtMs]).toEqual(["active", value]);
        outcomes.renewed++;
      } else {
        expect([code, lease.state]).toEqual(["LEASE_EXPIRED", "expired"]);
        outcomes.expired++;
      }
      lease.release();
      await tickUntil(fabric, isQuiet(fabric));
    }
    const { released, expired } = fabric.stats().memory;
    expect([released, expired]).toEqual([outcomes.renewed + 1, outcomes.expired]);
  } finally {
    await hand.end();
  }
  return outcomes;
}
