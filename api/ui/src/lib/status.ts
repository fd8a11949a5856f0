/** What each status means to the eye, and what a run in it can be told to do. */
import type { Run, RunListed, Status } from "../api/types";

export type Tone = "live" | "good" | "bad" | "warn" | "calm" | "still";

const TONES: Record<Status, Tone> = {
  QUEUED: "warn",
  STARTING: "live",
  RUNNING: "live",
  PAUSING: "calm",
  PAUSED: "calm",
  CANCELLING: "still",
  SUCCEEDED: "good",
  FAILED: "bad",
  CANCELLED: "still",
};

export function toneOf(status: Status): Tone {
  return TONES[status] ?? "still";
}

/** Why it waits, was preempted, failed: what the page of the run and `tumbler describe` say; empty where all is well. */
export function whyOf({ wait, message }: Pick<RunListed, "wait" | "message">): string {
  return [wait?.why, message].filter(Boolean).join("; ");
}

const ACTIVE: readonly Status[] = ["STARTING", "RUNNING", "PAUSING", "CANCELLING"];
const OVER: readonly Status[] = ["SUCCEEDED", "FAILED", "CANCELLED"];

export function isActive(status: Status): boolean {
  return ACTIVE.includes(status);
}

export function isOver(status: Status): boolean {
  return OVER.includes(status);
}

export type Verb = "scale" | "checkpoint" | "pause" | "resume" | "cancel" | "clone" | "retry" | "delete";

/** The verbs that the service would take now; see docs/lifecycle.md. */
export function verbsOf(run: Pick<Run, "status">): Verb[] {
  const { status } = run;
  if (isOver(status)) return status === "SUCCEEDED" ? ["clone", "delete"] : ["retry", "clone", "delete"];
  switch (status) {
    case "PAUSED":
      return ["resume", "scale", "cancel", "clone"];
    case "RUNNING":
      return ["scale", "checkpoint", "pause", "cancel", "clone"];
    case "PAUSING":
      return ["cancel", "clone"];
    case "CANCELLING":
      return ["clone"];
    default:
      return ["scale", "pause", "cancel", "clone"];
  }
}

/** How a worker left, or what it does: to the eye. */
export function workerTone(state: string): Tone {
  if (["lost", "hung", "corrupted", "killed", "refused"].includes(state)) return "bad";
  if (state === "training") return "live";
  if (state === "starting" || state === "warm") return "calm";
  return "still";
}

export function isPresent(state: string): boolean {
  return state === "starting" || state === "warm" || state === "training";
}

const GRAVE = /lost|hung|error|corrupted|differ|not-finite|failed|overdue|refused|killed|rolled-back|skipped/;
const CHANGE = /generation|scaled|drain|preempted|paused|retired|straggler|waiting|kill-requested|stop-requested/;
const FINE = /committed|evaluated|finished|succeeded|healed/;

export function eventTone(kind: string): Tone {
  if (GRAVE.test(kind)) return "bad";
  if (CHANGE.test(kind)) return "live";
  if (FINE.test(kind)) return "good";
  return "still";
}
