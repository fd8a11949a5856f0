/** The newest points that the stream of each run sent: an answer of /metrics may be older than they are. */
import type { Point } from "../lib/series";

const MOST = 4000;
const tails = new Map<string, Point[]>();

export function addToTail(id: string, points: readonly Point[]): void {
  const tail = [...(tails.get(id) ?? []), ...points];
  tails.set(id, tail.slice(-MOST));
}

export function tailOf(id: string): readonly Point[] {
  return tails.get(id) ?? [];
}
