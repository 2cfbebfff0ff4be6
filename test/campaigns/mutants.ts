/** Protocol rules, broken one at a time: a campaign that finds nothing then proves nothing. */
import { blockEdgeMutants } from "./mutants/block-edge-mutants.ts";
import { collectionsMutants } from "./mutants/collections-mutants.ts";
import { dagMutants } from "./mutants/dag-mutants.ts";
import { edgeMutants } from "./mutants/edge-mutants.ts";
import { fabricMutants } from "./mutants/fabric-mutants.ts";
import { failoverMutants } from "./mutants/failover-mutants.ts";
import { interleavingsMutants } from "./mutants/interleavings-mutants.ts";
import { jobsMutants } from "./mutants/jobs-mutants.ts";
import { resumeMutants } from "./mutants/resume-mutants.ts";
import { stagesMutants } from "./mutants/stages-mutants.ts";
import type { Mutant } from "./mutants/mutant.ts";

export type { Mutant };

/** All of them. */
export const mutants: readonly Mutant[] = [
  ...failoverMutants,
  ...collectionsMutants,
  ...fabricMutants,
  ...dagMutants,
  ...edgeMutants,
  ...blockEdgeMutants,
  ...interleavingsMutants,
  ...resumeMutants,
  ...stagesMutants,
  ...jobsMutants,
];
