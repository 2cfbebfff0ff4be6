/** Protocol rules, broken one at a time: a campaign that finds nothing then proves nothing. */

/** One broken rule: a text that stands once in a source file, and what stands there instead. */
export interface Mutant {
  readonly name: string;
  /** The invariant that it breaks. */
  readonly rule: string;
  /** The campaign that must find it. */
  readonly campaign: string;
  /** From the root of the repository. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

const fence = "packages/fence/src";
const leasekit = "packages/leasekit/src";

const failover = (
  rule: string,
  name: string,
  file: string,
  find: string,
  replace: string,
): Mutant => ({
  name,
  rule,
  campaign: "failover",
  file,
  find,
  replace,
});

/** All of them. */
export const mutants: readonly Mutant[] = [
  failover(
    "L1",
    "a re-grant does not raise the epoch",
    `${leasekit}/grant-book.ts`,
    "const epoch = FenceEpoch.of(row?.epoch ?? 0).next().value;",
    "const epoch = row?.epoch ?? 1;",
  ),
  failover(
    "L1",
    "a restart forgets what was granted",
    `${leasekit}/lease-authority.ts`,
    "const book = new GrantBook(rules, state, time.nowMs());",
    "const book = new GrantBook(rules, undefined, time.nowMs());",
  ),
  failover(
    "L1",
    "a request is told apart by its resource alone",
    `${leasekit}/grant-book.ts`,
    "row.holder === holder && row.requestId === requestId",
    "row.state === 'held'",
  ),
  failover(
    "L1",
    "a retried grant is told the next epoch",
    `${leasekit}/grant-book.ts`,
    "return { epoch: row.epoch, ttlMs: row.ttlMs };",
    "return { epoch: row.epoch + 1, ttlMs: row.ttlMs };",
  ),
  failover(
    "L1, L6",
    "a replaced writer goes on writing",
    `${fence}/fenced-record.ts`,
    "if (generation > own) {",
    "if (generation < 0) {",
  ),
  failover(
    "L2",
    "the answer goes out before the write",
    `${leasekit}/lease-authority.ts`,
    "const answers = this.#decide(batch);",
    "const answers = this.#decide(batch); for (const answer of answers) answer();",
  ),
  failover(
    "L2, E1",
    "a record's write is not flushed",
    "packages/fabric/src/two-slot-record.ts",
    "encodeSlot(generation, state));\n    await this.#blocks.flush();",
    "encodeSlot(generation, state));",
  ),
  failover(
    "L2, J4",
    "a write that failed is forgotten",
    `${leasekit}/lease-authority.ts`,
    "throw this.#stop(cause);",
    "throw refusalOf(cause);",
  ),
  failover(
    "L3",
    "a new lease counts from when its answer came",
    `${leasekit}/held-lease.ts`,
    "new HeldLease(all, ports, grant, sentAtMs)",
    "new HeldLease(all, ports, grant, ports.clock.nowMs())",
  ),
  failover(
    "L3",
    "a renewal counts from when its answer came",
    `${leasekit}/held-lease.ts`,
    "this.#deadlineOf(sentAtMs, ttlMs));\n    this.#renewed++;",
    "this.#deadlineOf(this.#ports.clock.nowMs(), ttlMs));\n    this.#renewed++;",
  ),
  failover(
    "L3",
    "a holder does not look at its deadline",
    `${leasekit}/held-lease.ts`,
    "return !this.#isOver && this.#ports.clock.nowMs() < this.#deadlineMs;",
    "return !this.#isOver;",
  ),
  failover(
    "L3",
    "the authority counts from the grant, not from the last renewal",
    `${leasekit}/grant-book.ts`,
    "this.#rows.set(lease.resource, { ...row, renewedAtMs: nowMs });",
    "",
  ),
  failover(
    "L3",
    "a restart does not count leases as renewed",
    `${leasekit}/lease-authority.ts`,
    "const book = new GrantBook(rules, state, time.nowMs());",
    "const book = new GrantBook(rules, state, -Infinity);",
  ),
  failover(
    "L3",
    "a revoked lease is granted to the next at once",
    `${leasekit}/grant-book.ts`,
    'if (row?.state === "held" || row?.state === "revoked") {',
    'if (row?.state === "held") {',
  ),
  failover(
    "L4",
    "a renewal does not compare",
    `${leasekit}/grant-book.ts`,
    'const row = this.#named(lease, "renew", lease.holder);',
    "const row = this.#rows.get(lease.resource) as Row;",
  ),
  failover(
    "L4",
    "a renewal brings back what is over",
    `${leasekit}/grant-book.ts`,
    'if (row.state !== "held") throw this.#over(row, "renew", lease.resource);',
    "",
  ),
  failover(
    "L4",
    "a release does not compare",
    `${leasekit}/grant-book.ts`,
    'const row = this.#named(lease, "release", lease.holder);',
    "const row = this.#rows.get(lease.resource) as Row;",
  ),
  failover(
    "L5",
    "a grant does not ask whether another has the lease",
    `${leasekit}/grant-book.ts`,
    'if (row?.state === "held" || row?.state === "revoked") {',
    "if (row === undefined && ttlMs < 0) {",
  ),
  failover(
    "L6",
    "a stall counts in full, and nothing drains",
    `${leasekit}/lease-clocks.ts`,
    "if (gapMs <= this.#tickMs * STALL_TICKS) this.#nowMs += gapMs;",
    "if (gapMs >= 0) this.#nowMs += gapMs;",
  ),
  failover(
    "L6",
    "a replaced authority answers renewals",
    `${leasekit}/lease-authority.ts`,
    "if (generation === own) return;",
    "if (generation >= own) return;",
  ),
  failover(
    "L7",
    "a holder believes its monotonic clock alone",
    `${leasekit}/lease-clocks.ts`,
    "if (aheadMs > 0) this.#offsetMs += aheadMs;",
    "",
  ),
  failover(
    "L7",
    "a holder goes by the system's clock",
    "test/campaigns/failover-nodes.ts",
    "const clock = new HolderClock(node.time);",
    "const { clock } = node;",
  ),
  failover(
    "L8",
    "leases do not end by time",
    `${leasekit}/grant-book.ts`,
    "nowMs > this.#endMs(row);",
    "nowMs < this.#endMs(row) && nowMs < 0;",
  ),
  failover(
    "E1",
    "a sink does not compare",
    `${fence}/fenced.ts`,
    "if (this.#epoch.isStale(epoch)) return false;",
    "if (this.#epoch.isStale(epoch)) return true;",
  ),
  failover(
    "E1",
    "the epoch before the promised one still passes",
    `${fence}/fence-epoch.ts`,
    "return other.value < this.value;",
    "return other.value + 1 < this.value;",
  ),
  failover(
    "E1",
    "a promise is made before it is durable",
    "test/campaigns/failover-nodes.ts",
    "if (epoch > kept.promised) await this.#keep(resource, { ...kept, promised: epoch });",
    "if (epoch > kept.promised) this.#keep(resource, { ...kept, promised: epoch }).catch(() => {});",
  ),
  failover(
    "E2",
    "nothing is sealed",
    "test/campaigns/failover-nodes.ts",
    "for (const sink of sinks) {",
    "for (const sink of sinks.slice(1)) {",
  ),
  failover(
    "E2",
    "a sink that does not answer counts as sealed",
    "test/campaigns/failover-nodes.ts",
    "if (!lease.isHeld) return;",
    "break;",
  ),
];
