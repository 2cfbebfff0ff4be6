/**
 * A lock service as it is often written, and what it guards: a holder asks whether its lease still stands, and then writes.
 * With `fenced`, the sink compares epochs as well.
 */
import { FenceEpoch, FenceGuard } from "@selvage/fence";
import { check, type Scenario, type SimNode } from "@selvage/sim";

const ttlMs = 1_000;

type Message =
  | { readonly type: "acquire" }
  | { readonly type: "granted"; readonly epoch: number }
  | { readonly type: "renew" | "renewed"; readonly epoch: number }
  | { readonly type: "write"; readonly epoch: number };

/** Grants one lease at a time, and applies what holders write. */
function store(node: SimNode, fenced: boolean): void {
  let holder: string | undefined;
  let epoch = 0;
  let untilMs = 0;
  const guard = new FenceGuard();
  node.listen((from, raw) => {
    const message = raw as Message;
    const nowMs = node.clock.nowMs();
    if (message.type === "acquire" && (nowMs >= untilMs || holder === from)) {
      // Whoever holds it and asks again has not heard the answer.
      const isNew = nowMs >= untilMs;
      if (isNew) epoch++;
      holder = from;
      untilMs = nowMs + ttlMs;
      guard.seal(FenceEpoch.of(epoch));
      if (isNew) node.record("authority.granted", { resource: "lock", holder, epoch, untilMs });
      node.send(from, { type: "granted", epoch } satisfies Message);
    } else if (message.type === "renew" && message.epoch === epoch && nowMs < untilMs) {
      untilMs = nowMs + ttlMs;
      node.send(from, { type: "renewed", epoch } satisfies Message);
    } else if (message.type === "write") {
      const details = { sink: "store", resource: "lock", epoch: message.epoch, holder: from };
      const isRefused = fenced && !guard.check(FenceEpoch.of(message.epoch));
      if (isRefused) node.record("sink.refused", details);
      else if (message.epoch < epoch) node.record("sink.applied", { ...details, effect: "late" });
      else {
        node.record("sink.promised", details);
        node.record("sink.applied", { ...details, effect: "write" });
      }
    }
  });
}

/** Wants the lease, keeps it, and writes while it believes that it has it. */
async function worker(node: SimNode): Promise<void> {
  let epoch = 0;
  let untilMs = 0;
  let sentMs = 0;
  node.listen((_from, raw) => {
    const message = raw as Message;
    if (message.type !== "granted" && message.type !== "renewed") return;
    ({ epoch } = message);
    // Counted from when it asked: as far as a lease alone goes, this is right.
    untilMs = sentMs + ttlMs;
  });
  for (;;) {
    const isHeld = node.clock.nowMs() < untilMs;
    sentMs = node.clock.nowMs();
    node.send("store", (isHeld ? { type: "renew", epoch } : { type: "acquire" }) satisfies Message);
    await node.sleep(50);
    if (node.clock.nowMs() >= untilMs) continue;
    // Some work between the question and the write.
    await node.sleep(node.random.between(1, 200));
    node.send("store", { type: "write", epoch } satisfies Message);
  }
}

/** Who wants the lock. */
export const workers: readonly string[] = ["a", "b", "c", "d"];

/** The scenario, with the sink as it is often written, or as it has to be. */
export function lock(fenced: boolean): Scenario {
  return {
    name: fenced ? "fenced-lock" : "unfenced-lock",
    world(world) {
      world.node("store", (node) => store(node, fenced));
      for (const name of workers) world.node(name, worker);
    },
    invariants: [check.noStaleEffect(), check.epochsMonotone()],
    finally: [check.eventually("sink.applied", 5_000)],
    shape: { warmUpMs: 500, chaosMs: 20_000, settleMs: 6_000 },
  };
}
