/** The words of the REST interface, from its OpenAPI document. */
import type { components } from "./schema";

type Schemas = components["schemas"];
export type Status = Schemas["RunStatus"];
/** One of many: it says why it waits, and not what was asked for. */
export type RunListed = Schemas["RunListed"];
/** As its own stream tells of it. */
export type Run = Omit<RunListed, "wait">;
export type RunDetail = Schemas["RunDetail"];
export type RunEvent = Schemas["EventShown"];
export type Worker = Schemas["WorkerShown"];
export type Generation = Schemas["GenerationShown"];
export type Attempt = Schemas["AttemptShown"];
export type Checkpoint = Schemas["CheckpointShown"];
export type CheckpointCheck = Schemas["CheckpointCheck"];
export type Goodput = Schemas["RunGoodput"];
export type ClusterGoodput = Schemas["ClusterGoodput"];
export type Audit = Schemas["AuditReport"];
export type LogLine = Schemas["LogLine"];
export type LogList = Schemas["LogList"];
export type NodeShown = Schemas["NodeShown"];
export type Queue = Schemas["QueueShown"];
export type DryRun = Schemas["DryRun"];
export type Problem = Schemas["Problem"];
export type FieldProblem = Schemas["FieldProblem"];
export type Version = Schemas["VersionShown"];

export type RunPage = Schemas["RunList"];
export type WorkerLife = Schemas["WorkerLifeShown"];
export type Incident = Schemas["IncidentShown"];
export type Timeline = Schemas["TimelineShown"];

/** Columns of equal length; a number that is not finite is text. */
export type Columns = Record<string, (number | string | null)[]>;

export interface Sparklines {
  runs: Record<string, Columns>;
}
