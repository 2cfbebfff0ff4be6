import { expect, describe, it } from "vitest";
import { kinds } from "../threads/fabric-hand.ts";
import { lateHolderRounds, renewalRounds } from "../threads/fabric-rounds.ts";

const rounds = 10_000;

describe.each(kinds)("threads on %s memory, for long", (kind) => {
  it("A3: hold a ticket past the end and neither read nor write the next tenant's bytes", async () => {
    const passed = await lateHolderRounds(kind, rounds);
    console.log(`${kind}: ${rounds} late holders, ${passed} operations before their ends`);
    expect(passed).toBeGreaterThan(rounds);
  });

  it("L4: renew against the owner's expiry with one outcome each time", async () => {
    const { renewed, expired } = await renewalRounds(kind, rounds);
    console.log(`${kind}: ${rounds} renewals, ${renewed} in time, ${expired} late`);
    expect(renewed + expired).toBe(rounds);
  });
});
