/**
 * Graphs of tasks, run in waves, whose data lives in leases.
 *
 * @packageDocumentation
 */
export type { CodecPorts } from "./data-codecs.ts";
export { DATA_FORMATS } from "./data-format.ts";
export type { DataFormat, DataRef, DataShape, DataValue } from "./data-format.ts";
export { EXECUTION_DEFAULTS } from "./execution-options.ts";
export type { AbortSource, ExecutorOptions, ExecutorPorts, Teardown } from "./execution-options.ts";
export { ExecutionPlan } from "./execution-plan.ts";
export type { PlannedTask } from "./execution-plan.ts";
export type { AttemptError, ExecutionResult, TaskResult } from "./execution-result.ts";
export { Executor } from "./executor.ts";
export type { KeptOutput, LeasedData } from "./kept-outputs.ts";
export type { LeasedInputs } from "./leased-inputs.ts";
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
} from "./run-events.ts";
export type { ByteCounts, LeaseCounts, LeaseOrigin } from "./run-ledger.ts";
export { Job, runTasks } from "./job.ts";
export type { JobMap } from "./job-context.ts";
export { validateTasks } from "./job-graph.ts";
export type { JobProblem } from "./job-graph.ts";
export { eventLogger, JOB_DEFAULTS } from "./job-options.ts";
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
} from "./job-options.ts";
export { Lanes } from "./lanes.ts";
export type { LaneBodies } from "./lanes.ts";
export { RunMachine } from "./run-machine.ts";
export type {
  MachineOptions,
  RunStatus,
  RunStep,
  Schedule,
  StopReason,
  TaskOutcome,
  TaskStatus,
} from "./run-machine.ts";
export type { Resource } from "./admission.ts";
export { DagShape, shapeOf } from "./topology.ts";
export type { Adjacency, Cycle } from "./topology.ts";
export { TaskGraph } from "./task-graph.ts";
export type { TaskId } from "./task-graph.ts";
export type {
  ModuleUrl,
  ResourceReq,
  TaskContext,
  TaskDef,
  TaskFunction,
  TaskOutput,
} from "./task.ts";
export { runRequest } from "./task-runner.ts";
export type { FarPorts } from "./task-runner.ts";
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
