import { describe, expect, it } from "vitest";
import { Feed, type FeedState, type Source, waitMs } from "../src/live/feed";

class FakeSource implements Source {
  onopen: ((event: Event) => void) | null = null;
  onerror: ((event: Event) => void) | null = null;
  closed = false;
  private takers = new Map<string, (event: MessageEvent<string>) => void>();

  constructor(readonly url: string) {}

  addEventListener(kind: string, take: (event: MessageEvent<string>) => void) {
    this.takers.set(kind, take);
  }
  close() {
    this.closed = true;
  }
  opens() {
    this.onopen?.({} as Event);
  }
  breaks() {
    this.onerror?.({} as Event);
  }
  sends(kind: string, data: unknown, lastEventId = "") {
    this.takers.get(kind)?.({ data: JSON.stringify(data), lastEventId } as MessageEvent<string>);
  }
}

function world() {
  const sources: FakeSource[] = [];
  const states: FeedState[] = [];
  const heard: [string, unknown][] = [];
  const waits: { act: () => void; afterMs: number; cancelled: boolean }[] = [];
  const feed = new Feed({
    url: (lastId) => `/stream${lastId ? `?since=${lastId}` : ""}`,
    kinds: ["run", "end"],
    last: "end",
    onMessage: (kind, data) => heard.push([kind, data]),
    onState: (state) => states.push(state),
    open: (url) => {
      const source = new FakeSource(url);
      sources.push(source);
      return source;
    },
    later: (act, afterMs) => {
      const wait = { act, afterMs, cancelled: false };
      waits.push(wait);
      return () => {
        wait.cancelled = true;
      };
    },
  });
  return { feed, sources, states, heard, waits };
}

describe("a feed", () => {
  it("says when it is open, and hands over what comes", () => {
    const { feed, sources, states, heard } = world();
    feed.start();
    sources[0]!.opens();
    sources[0]!.sends("run", { id: "a" });
    expect(states).toEqual(["connecting", "open"]);
    expect(heard).toEqual([["run", { id: "a" }]]);
  });

  it("opens again behind the newest message that it had, however often it breaks", () => {
    const { feed, sources, states, waits } = world();
    feed.start();
    sources[0]!.opens();
    sources[0]!.sends("run", {}, "3.7");
    sources[0]!.breaks();
    expect(sources[0]!.closed).toBe(true);
    waits[0]!.act();
    sources[1]!.breaks();
    waits[1]!.act();
    expect(sources.map((source) => source.url)).toEqual(["/stream", "/stream?since=3.7", "/stream?since=3.7"]);
    sources[2]!.opens();
    expect(states).toEqual(["connecting", "open", "lost", "lost", "open"]);
    expect(waits.map((wait) => wait.afterMs)).toEqual([500, 1000]);
  });

  it("is quick again after it was open", () => {
    const { feed, sources, waits } = world();
    feed.start();
    sources[0]!.breaks();
    waits[0]!.act();
    sources[1]!.opens();
    sources[1]!.breaks();
    expect(waits[1]!.afterMs).toBe(500);
  });

  it("is over after its last message, and does not open again", () => {
    const { feed, sources, states } = world();
    feed.start();
    sources[0]!.sends("end", {});
    sources[0]!.breaks();
    feed.start();
    expect(sources).toHaveLength(1);
    expect(sources[0]!.closed).toBe(true);
    expect(states.at(-1)).toBe("ended");
  });

  it("can ask for something else from where it was, without being away", () => {
    const { feed, sources, states, heard } = world();
    feed.reopen();
    expect(sources).toHaveLength(0);
    feed.start();
    sources[0]!.opens();
    sources[0]!.sends("run", 1, "3.7");
    feed.reopen();
    sources[0]!.sends("run", 2, "3.8");
    sources[0]!.breaks();
    sources[1]!.opens();
    sources[1]!.sends("run", 3, "3.9");
    expect(sources.map((source) => [source.url, source.closed])).toEqual([["/stream", true], ["/stream?since=3.7", false]]);
    expect(heard.map(([, data]) => data)).toEqual([1, 3]);
    expect(states).toEqual(["connecting", "open", "open"]);
  });

  it("that is stopped hears nothing and waits for nothing", () => {
    const { feed, sources, heard, waits } = world();
    feed.start();
    sources[0]!.breaks();
    feed.stop();
    expect(waits[0]!.cancelled).toBe(true);
    feed.start();
    feed.stop();
    sources[1]!.sends("run", {});
    expect(heard).toEqual([]);
  });
});

it("waits longer each time, and never longer than eight seconds", () => {
  expect([1, 2, 3, 4, 5, 6, 50].map(waitMs)).toEqual([500, 1000, 2000, 4000, 8000, 8000, 8000]);
});
