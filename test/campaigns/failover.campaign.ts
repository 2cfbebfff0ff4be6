/** Leases that fail over: an authority, holders and sinks, while everything that a node can meet goes wrong. */
import { FAULT_KINDS, SURVIVABLE, type Campaign, type FaultKind } from "@selvage/sim";
import { failoverChecks, failoverFinally, liveness, properties } from "./failover-checks.ts";
import { authorityProgram, holderProgram, sinkProgram } from "./failover-nodes.ts";
import { AUTHORITY, drawSizes, FailoverRun } from "./failover-run.ts";

const sometimesNames = [
  "a holder stopped by its own deadline",
  "a lease ended by time",
  "a release came too late",
  "a renewal was refused",
  "a replaced authority was told so",
  "a sink came back with its promise",
  "a sink refused a stale epoch",
  "a write failed, and the authority stopped",
  "an authority came back with leases outstanding",
];

/** One of them must tell the truth: see `HolderClock`. */
const wallKinds: ReadonlySet<FaultKind> = new Set(["clockStep"]);
const monotonicKinds: ReadonlySet<FaultKind> = new Set(["suspend", "clockFreeze"]);

/** Twice as often as others: leases are about them. */
const stops: readonly FaultKind[] = ["crash", "pause", "suspend", "isolate", "delay"];

/** Leases between nodes. */
/** A seed is soon done. */
export const share = 4;

export const campaign: Campaign = {
  name: "failover",
  swarm: (random) => {
    const { holders, sinks } = drawSizes(random);
    const spared = random.pick([wallKinds, monotonicKinds]);
    return {
      nodes: [AUTHORITY, ...holders, ...sinks],
      kinds: [...FAULT_KINDS.filter((kind) => SURVIVABLE.has(kind)), ...stops].filter(
        (kind) => !spared.has(kind),
      ),
      moments: [
        "authority.granted",
        "authority.renewed",
        "authority.expired",
        "holder.sealed",
        "holder.acted",
        "sink.promised",
        "sink.applied",
        "disk.synced",
      ],
    };
  },
  scenario: (random) => {
    const sizes = drawSizes(random);
    return {
      world: (w) => {
        const run = new FailoverRun(w, sizes);
        if (sizes.lateMs > 0)
          w.network.setWeather({ lateIn1000: 600, lateMs: sizes.lateMs, doubledIn1000: 100 });
        run.watchArrivals(w.node(AUTHORITY, (node) => authorityProgram(run, node)));
        for (const name of sizes.sinks) w.node(name, (node) => sinkProgram(run, node));
        for (const name of sizes.holders) w.node(name, (node) => holderProgram(run, node));
      },
      invariants: failoverChecks(),
      finally: failoverFinally(sizes),
      sometimes: sometimesNames,
    };
  },
  properties: [...properties, liveness],
  sometimes: sometimesNames,
};
