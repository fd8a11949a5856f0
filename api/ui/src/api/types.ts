/** The words of the REST interface, from its OpenAPI document. */
import type { components } from "./schema";

type Schemas = components["schemas"];
export type Status = Schemas["RunStatus"];
export type Run = Schemas["RunShown"];
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

export interface RunPage {
  runs: Run[];
  next_cursor: string | null;
  /** How many runs match, whatever the limit. */
  total?: number | null;
}

/** Columns of equal length; a number that is not finite is text. */
export type Columns = Record<string, (number | string | null)[]>;

/** One worker's life. */
export interface WorkerLife {
  worker: string;
  attempt: number;
  node_id: string | null;
  pid: number | null;
  started: string | null;
  warm: string | null;
  joined: string | null;
  ended: string | null;
  state: string;
  why: string | null;
}

export interface Incident {
  time: string;
  kind: string;
  message: string;
  worker: string | null;
}

export interface Timeline {
  workers: WorkerLife[];
  generations: Generation[];
  incidents: Incident[];
}

export interface Sparklines {
  runs: Record<string, Columns>;
}
