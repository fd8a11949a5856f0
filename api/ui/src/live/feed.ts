/** A stream of server-sent events that opens again by itself, from where it was, for as long as it is wanted. */

export type FeedState = "connecting" | "open" | "lost" | "ended";

/** What is used of EventSource. */
export interface Source {
  onopen: ((event: Event) => void) | null;
  onerror: ((event: Event) => void) | null;
  addEventListener(kind: string, take: (event: MessageEvent<string>) => void): void;
  close(): void;
}

export interface FeedOptions {
  /** Where it is, to go on behind the message `lastId`; null for the beginning. */
  url: (lastId: string | null) => string;
  kinds: readonly string[];
  onMessage: (kind: string, data: unknown) => void;
  onState: (state: FeedState) => void;
  /** After this message nothing comes any more. */
  last?: string;
  open?: (url: string) => Source;
  later?: (act: () => void, afterMs: number) => () => void;
}

const LONGEST_MS = 8000;

/** Half a second, then twice as long each time, up to eight. */
export function waitMs(failures: number): number {
  return Math.min(LONGEST_MS, 500 * 2 ** Math.max(0, failures - 1));
}

export class Feed {
  private source: Source | null = null;
  private cancel: (() => void) | null = null;
  private failures = 0;
  private lastId: string | null = null;
  private done = false;

  constructor(private readonly options: FeedOptions) {}

  /** Nothing where it is open or waits already, or is over. */
  start(): void {
    if (this.source || this.cancel || this.done) return;
    if (!this.failures) this.options.onState("connecting");
    this.open();
  }

  /** Asks for something else by its url, from where it was; where it is not open it will when it is opened. */
  reopen(): void {
    if (!this.source) return;
    this.source.close();
    this.open();
  }

  /** May be started again, and then goes on from where it was. */
  stop(): void {
    this.source?.close();
    this.source = null;
    this.cancel?.();
    this.cancel = null;
    this.failures = 0;
  }

  private open(): void {
    const { url, kinds, onMessage, onState, last, open = openSource } = this.options;
    const source = open(url(this.lastId));
    this.source = source;
    source.onopen = () => {
      this.failures = 0;
      onState("open");
    };
    source.onerror = () => this.again(source);
    for (const kind of kinds) {
      source.addEventListener(kind, (event) => {
        if (this.source !== source) return;
        if (event.lastEventId) this.lastId = event.lastEventId;
        onMessage(kind, JSON.parse(event.data));
        if (kind === last) {
          this.stop();
          this.done = true;
          onState("ended");
        }
      });
    }
  }

  private again(source: Source): void {
    if (this.source !== source) return;
    source.close();
    this.source = null;
    this.failures += 1;
    this.options.onState("lost");
    const { later = wait } = this.options;
    this.cancel = later(() => {
      this.cancel = null;
      this.start();
    }, waitMs(this.failures));
  }
}

function openSource(url: string): Source {
  return new EventSource(url);
}

function wait(act: () => void, afterMs: number): () => void {
  const timer = setTimeout(act, afterMs);
  return () => clearTimeout(timer);
}
