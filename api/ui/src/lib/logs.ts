/** What workers printed, as it comes: a window on the newest lines. */
import type { LogLine } from "../api/types";

export interface NumberedLine extends LogLine {
  /** Counts up over all that was shown, so that a line keeps its place while old ones go. */
  number: number;
}

const MOST = 20_000;

export function withLines(known: readonly NumberedLine[], more: readonly LogLine[], most = MOST): NumberedLine[] {
  if (!more.length) return known as NumberedLine[];
  const from = (known.at(-1)?.number ?? -1) + 1;
  const all = [...known, ...more.map((line, index) => ({ ...line, number: from + index }))];
  return all.length > most ? all.slice(all.length - most) : all;
}

/** A progress bar writes its line again and again: what stands there at the end is what a terminal shows. */
export function lastWriting(text: string): string {
  const parts = text.split("\r").filter(Boolean);
  return parts.at(-1) ?? text;
}
