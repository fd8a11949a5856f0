/**
 * The newest points that the stream of each run sent. What came while /metrics was asked may not be in its answer; what
 * came before is, for it was in the journal already.
 */
import type { Point } from "../lib/series";

const MOST = 4000;

interface Tail {
  /** How many ever came. */
  count: number;
  points: Point[];
}

const tails = new Map<string, Tail>();

export function addToTail(id: string, points: readonly Point[]): void {
  const { count, points: known } = tails.get(id) ?? { count: 0, points: [] };
  tails.set(id, { count: count + points.length, points: [...known, ...points].slice(-MOST) });
}

/** A place in the tail, for `tailSince`. */
export function tailMark(id: string): number {
  return tails.get(id)?.count ?? 0;
}

export function tailSince(id: string, mark: number): readonly Point[] {
  const { count, points } = tails.get(id) ?? { count: 0, points: [] };
  const fresh = count - mark;
  return fresh > 0 ? points.slice(-fresh) : [];
}
