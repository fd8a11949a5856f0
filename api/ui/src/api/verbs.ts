/** What steers runs, workers, checkpoints, nodes and queues. */
import { ask, runPath } from "./client";
import type { CheckpointCheck, DryRun, NodeShown, Queue, RunDetail } from "./types";

const post = <T = RunDetail>(path: string, json?: unknown) => ask<T>(path, { method: "POST", json });

export const scale = (id: string, min: number, max: number) => post(runPath(id, "/scale"), { min, max });
export const takeCheckpoint = (id: string) => post(runPath(id, "/checkpoint"));
export const pause = (id: string) => post(runPath(id, "/pause"));
export const resume = (id: string) => post(runPath(id, "/resume"));
export const cancel = (id: string) => post(runPath(id, "/cancel"));
export const retry = (id: string) => post(runPath(id, "/retry"));
export const clone = (id: string, name: string, overrides: Record<string, unknown>) =>
  post(runPath(id, "/clone"), { ...(name ? { name } : {}), overrides });
export const remove = (id: string, keepFiles: boolean) =>
  ask<void>(runPath(id, `?keep_files=${keepFiles}`), { method: "DELETE" });

export const killWorker = (id: string, worker: string) =>
  ask<RunDetail>(runPath(id, `/workers/${encodeURIComponent(worker)}`), { method: "DELETE" });
export const drainWorker = (id: string, worker: string) => post(runPath(id, `/workers/${encodeURIComponent(worker)}/drain`));

export const verifyCheckpoint = (id: string, step: number) =>
  post<CheckpointCheck>(runPath(id, `/checkpoints/${step}/verify`));

export const dryRun = (spec: string) => ask<DryRun>("/runs?dry_run=true", { method: "POST", yaml: spec });
/** The same key again gives the same run: a submit whose answer was lost never becomes two. */
export const submit = (spec: string, key: string) =>
  ask<RunDetail>("/runs", { method: "POST", yaml: spec, headers: { "Idempotency-Key": key } });

const nodePath = (id: string, verb: string) => `/cluster/nodes/${encodeURIComponent(id)}/${verb}`;
export const cordon = (id: string) => post<NodeShown>(nodePath(id, "cordon"));
export const uncordon = (id: string) => post<NodeShown>(nodePath(id, "uncordon"));
export const drainNode = (id: string, deadlineS: number | null, reason: string) =>
  post<NodeShown>(nodePath(id, "drain"), { ...(deadlineS === null ? {} : { deadline_s: deadlineS }), reason });

export const setQueue = (name: string, quota: Record<string, number>, weight: number) =>
  ask<Queue>(`/queues/${encodeURIComponent(name)}`, { method: "PUT", json: { quota, weight } });
