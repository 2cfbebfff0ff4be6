/**
 * Graphs of tasks, run in waves, whose data lives in leases.
 *
 * @packageDocumentation
 */
export type { CodecPorts } from "./data/data-codecs.ts";
export { DATA_FORMATS } from "./data/data-format.ts";
export type { DataFormat, DataRef, DataShape, DataValue } from "./data/data-format.ts";
export { EXECUTION_DEFAULTS } from "./run/execution-options.ts";
export type {
  AbortSource,
  ExecutorOptions,
  ExecutorPorts,
  Teardown,
} from "./run/execution-options.ts";
export { ExecutionPlan } from "./graph/execution-plan.ts";
export type { PlannedTask } from "./graph/execution-plan.ts";
export type { AttemptError, ExecutionResult, TaskResult } from "./run/execution-result.ts";
export { Executor } from "./run/executor.ts";
export type { KeptOutput, LeasedData } from "./data/kept-outputs.ts";
export type { LeasedInputs } from "./data/leased-inputs.ts";
export { criticalPath } from "./report/critical-path.ts";
export type { CriticalPath, CriticalStep, TaskTimes } from "./report/critical-path.ts";
export { RunProgress } from "./report/run-progress.ts";
export type { ScreenSize } from "./report/run-progress.ts";
export { RunRecorder } from "./report/run-recorder.ts";
export type { RecordedAttempt, RecordedLease } from "./report/run-recorder.ts";
export { runReport } from "./report/run-report.ts";
export type { RunReportOptions } from "./report/run-report.ts";
export type {
  ResumeEvent,
  ExecutionEvent,
  LeaseEvent,
  LogEvent,
  ProgressEvent,
  SettledEvent,
  SpillEvent,
  TaskEvent,
  WaveEvent,
} from "./run/run-events.ts";
export type { ByteCounts, LeaseCounts, LeaseOrigin } from "./run/run-ledger.ts";
export { Job, runTasks } from "./job/job.ts";
export type { JobMap } from "./job/job-context.ts";
export { validateTasks } from "./job/job-graph.ts";
export type { JobProblem } from "./job/job-graph.ts";
export { eventLogger, JOB_DEFAULTS } from "./job/job-options.ts";
export type {
  JobEvent,
  JobFailureReason,
  JobOptions,
  JobPorts,
  JobResult,
  JobState,
  JobTask,
  JobTaskReport,
  JobTaskState,
  TaskControls,
} from "./job/job-options.ts";
export { Lanes } from "./machine/lanes.ts";
export type { LaneBodies } from "./machine/lanes.ts";
export { RunMachine } from "./machine/run-machine.ts";
export type {
  MachineOptions,
  RunStatus,
  RunStep,
  Schedule,
  StopReason,
  TaskOutcome,
  TaskStatus,
} from "./machine/run-machine.ts";
export type { Resource } from "./machine/admission.ts";
export { DagShape, shapeOf } from "./graph/topology.ts";
export type { Adjacency, Cycle } from "./graph/topology.ts";
export { TaskGraph } from "./graph/task-graph.ts";
export type { TaskId } from "./graph/task-graph.ts";
export type {
  ModuleUrl,
  ResourceReq,
  TaskContext,
  TaskDef,
  TaskFunction,
  TaskOutput,
} from "./graph/task.ts";
export { runRequest } from "./run/task-runner.ts";
export type { FarPorts } from "./run/task-runner.ts";
export type {
  CommittedOutput,
  RunningTask,
  TaskHost,
  TaskReply,
  TaskRequest,
  TaskRunner,
  TicketedAllocation,
  TicketedInput,
} from "@selvage/leasekit";
