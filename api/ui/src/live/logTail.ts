/** What workers print, from one place on: told by the stream of the run, asked for again and again while that is broken. */
import type { LogLine, LogList } from "../api/types";

export interface LogTailOptions {
  /** `next` of the newest answer that the page has. */
  cursor: string;
  worker: string;
  q: string;
  onLines: (lines: readonly LogLine[]) => void;
  /** What came after a cursor. */
  read: (cursor: string) => Promise<LogList>;
}

export class LogTail {
  private cursor: string;
  private streams = false;
  private closed = false;

  constructor(private readonly options: LogTailOptions) {
    this.cursor = options.cursor;
  }

  /** The stream is about to be opened: what it is asked for. Whoever reads meanwhile reads in vain, so that no line comes twice. */
  begin(): Record<string, string> {
    this.streams = true;
    const { worker, q } = this.options;
    return { logs: "true", logs_since: this.cursor, worker, q };
  }

  /** A message of the stream. */
  take(list: LogList): void {
    if (this.streams) this.put(list);
  }

  /** The stream broke: from now on `poll` reads. */
  lost(): void {
    this.streams = false;
  }

  /** Nothing while the stream is there. */
  async poll(): Promise<void> {
    if (this.streams || this.closed) return;
    const from = this.cursor;
    const list = await this.options.read(from);
    if (!this.streams && this.cursor === from) this.put(list);
  }

  close(): void {
    this.closed = true;
  }

  private put({ lines, next }: LogList): void {
    if (this.closed) return;
    this.cursor = next;
    if (lines.length) this.options.onLines(lines);
  }
}
