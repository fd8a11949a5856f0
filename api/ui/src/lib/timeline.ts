/** Times on a line: what a Gantt needs to know of a run's workers. */
import type { Timeline, WorkerLife } from "../api/types";

export interface TimeSpan {
  from: number;
  to: number;
}

/** From the first worker to the last thing that is known, or to now while anybody is there. */
export function spanOf(timeline: Timeline, now: number | null): TimeSpan {
  const times = timeline.workers
    .flatMap((life) => [life.placed, life.started, life.warm, life.joined, life.ended])
    .concat(timeline.generations.map((one) => one.formed))
    .concat(timeline.incidents.map((one) => one.time))
    .flatMap((time) => (time ? [Date.parse(time)] : []));
  if (now !== null) times.push(now);
  let [from, to] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const time of times) {
    from = Math.min(from, time);
    to = Math.max(to, time);
  }
  if (!Number.isFinite(from)) return { from: 0, to: 1 };
  return { from, to: Math.max(to, from + 1000) };
}

export function share(time: number, { from, to }: TimeSpan): number {
  return Math.min(1, Math.max(0, (time - from) / (to - from)));
}

/** As many as fit are in the order in which they came; of more, who is there first, then who left last. */
export function ordered(workers: readonly WorkerLife[], fit: number): readonly WorkerLife[] {
  if (workers.length <= fit) return workers;
  const there = workers.filter((life) => !life.ended);
  const left = workers.filter((life) => life.ended);
  return [...there, ...left.sort((a, b) => Date.parse(b.ended!) - Date.parse(a.ended!))];
}

export type Stage = "starting" | "warm" | "training";

/** The stages of a life, each from when to when; who is there still goes on to the end of the span. */
export function stagesOf(life: WorkerLife, span: TimeSpan): { stage: Stage; from: number; to: number }[] {
  const at = (time: string | null) => (time ? Date.parse(time) : null);
  const [started, warm, joined] = [at(life.placed ?? life.started), at(life.warm), at(life.joined)];
  const end = at(life.ended) ?? span.to;
  const begins: [Stage, number | null][] = [
    ["starting", started],
    ["warm", warm],
    ["training", joined],
  ];
  const known = begins.filter((one): one is [Stage, number] => one[1] !== null);
  return known.flatMap(([stage, from], index) => {
    const to = Math.min(end, known[index + 1]?.[1] ?? end);
    return to > from ? [{ stage, from, to }] : [];
  });
}

const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400, 172800, 604800];

/** Round times between, about as many as asked for. */
export function ticks({ from, to }: TimeSpan, about: number): number[] {
  const each = (STEPS_S.find((step) => (to - from) / 1000 / step <= about) ?? Math.ceil((to - from) / 1000 / about)) * 1000;
  const first = Math.ceil(from / each) * each;
  const found = [];
  for (let at = first; at <= to; at += each) found.push(at);
  return found;
}
