/**
 * A deterministic simulator: the same program on other ports, a fault plan, a seed, and what must hold.
 *
 * @packageDocumentation
 */
export { arb } from "./arb.ts";
export type { FaultPlanOptions } from "./arb.ts";
export type { Campaign } from "./campaign.ts";
export { loadCampaigns } from "./campaigns/campaign-file.ts";
export type { FileCampaigns } from "./campaigns/campaign-file.ts";
export { workShare } from "./campaigns/campaign-share.ts";
export type { CampaignShare, ShareMode, ShareReport } from "./campaigns/campaign-share.ts";
export {
  campaignLines,
  campaignShortcomings,
  summarizeCampaigns,
} from "./campaigns/campaign-summary.ts";
export type { CampaignSummary, SummaryOptions } from "./campaigns/campaign-summary.ts";
export { runOnThreads, toldOfShare } from "./campaigns/campaign-threads.ts";
export type { ThreadsOptions } from "./campaigns/campaign-threads.ts";
export { readPlan } from "./campaigns/plan-file.ts";
export type { PlannedRun } from "./campaigns/plan-file.ts";
export { runCampaignFiles } from "./campaigns/run-files.ts";
export type { CampaignFilesOptions } from "./campaigns/run-files.ts";
export { FAULT_KINDS, SURVIVABLE } from "./faults.ts";
export type { Fault, FaultBody, FaultKind, FaultPlan, Moment } from "./faults.ts";
export { Kernel } from "./kernel.ts";
export type { Observer } from "./kernel.ts";
export { minimise } from "./minimise.ts";
export { FAIR_WEATHER, Network } from "./network.ts";
export type { CutMode, Weather } from "./network.ts";
export { parsePlan } from "./parse-plan.ts";
export { RandomStream } from "./random.ts";
export { FAILURES_FOLDER, keptFailures, readKept, SimReport, SimulationFailure } from "./report.ts";
export type { KeptFailure } from "./report.ts";
export { replay } from "./replay.ts";
export { audit, replayKept, REPEATS, runCampaign, runOf, seedAfter } from "./run-campaign.ts";
export type {
  AuditOptions,
  CampaignFailure,
  CampaignRun,
  CampaignTally,
  Divergence,
  KeptTally,
} from "./run-campaign.ts";
export { SECTOR_BYTES, SimDisks } from "./sim-disk.ts";
export type { DiskCondition } from "./sim-disk.ts";
export { SimNode, START_MS } from "./sim-node.ts";
export type { Program, ResumeOrder } from "./sim-node.ts";
export { simulate } from "./simulate.ts";
export type { RunShape, Scenario, SimulateOptions } from "./simulate.ts";
export { drawFault, drawPlan } from "./swarm.ts";
export type { SwarmOptions } from "./swarm.ts";
export type { Detail, Occurrence } from "./trace.ts";
export { World } from "./world.ts";
export { History } from "./history.ts";
export type { Operation, OperationOutcome, OperationToken } from "./history.ts";
export { models, UNKNOWN } from "./models.ts";
export type {
  CasRegisterInput,
  FifoInput,
  FifoOutput,
  FifoState,
  LeaseInput,
  LeaseState,
  MapInput,
  MapState,
  Model,
  PolledBetween,
  RegisterInput,
  RegisterState,
} from "./models.ts";
export type { Foreseen } from "./model.ts";
export { checkLinearizable, describeCounterexample } from "./linearizability.ts";
export type { Counterexample, Linearizability, LinearizabilityOptions } from "./linearizability.ts";
export { check, holdTo, Violation } from "./checks.ts";
export type {
  Check,
  EventuallyOptions,
  ExactlyOnceOptions,
  FinishedRun,
  HolderStopsFirstOptions,
  LinearizableOptions,
  Verdict,
} from "./checks.ts";
export { Counters, currentCounters, sometimes, withCounters } from "./sometimes.ts";
export { explore } from "./explorer/explore.ts";
export type { Exploration, ExploreMode, ExploreSummary } from "./explorer/explore.ts";
export type {
  Host,
  Outcome,
  Program as SteppedProgram,
  SteppedThread,
  ThreadOutcome,
} from "./explorer/execution.ts";
export type { PlainReads } from "./explorer/weak-words.ts";
export { explorerProperties, exploreProperty } from "./explorer/properties.ts";
export type { ExplorerProperty } from "./explorer/properties.ts";
