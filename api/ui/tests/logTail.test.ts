import { describe, expect, it } from "vitest";
import type { LogList } from "../src/api/types";
import { LogTail } from "../src/live/logTail";

const list = (texts: string[], next: string): LogList => ({ lines: texts.map((text) => ({ worker: "w1", attempt: 1, text })), next });

function world() {
  const shown: string[] = [];
  const asked: { cursor: string; answer: (list: LogList) => void }[] = [];
  const tail = new LogTail({
    cursor: "c0",
    worker: "w1",
    q: "loss",
    onLines: (lines) => shown.push(...lines.map((line) => line.text)),
    read: (cursor) => new Promise((answer) => asked.push({ cursor, answer })),
  });
  return { tail, shown, asked };
}

describe("the tail of a log", () => {
  it("goes on by the stream from where the page was, each time that it is opened", () => {
    const { tail, shown } = world();
    expect(tail.begin()).toEqual({ logs: "true", logs_since: "c0", worker: "w1", q: "loss" });
    tail.take(list(["a", "b"], "c1"));
    tail.lost();
    expect(tail.begin().logs_since).toBe("c1");
    expect(shown).toEqual(["a", "b"]);
  });

  it("is asked for while the stream is broken, and not while it is there", async () => {
    const { tail, shown, asked } = world();
    const first = tail.poll();
    asked[0]!.answer(list(["a"], "c1"));
    await first;
    tail.begin();
    await tail.poll();
    expect(asked.map((one) => one.cursor)).toEqual(["c0"]);
    tail.lost();
    void tail.poll();
    expect(asked.map((one) => one.cursor)).toEqual(["c0", "c1"]);
    expect(shown).toEqual(["a"]);
  });

  it("has no line twice where the stream comes back while an answer is on its way", async () => {
    const { tail, shown, asked } = world();
    const late = tail.poll();
    tail.begin();
    asked[0]!.answer(list(["a"], "c1"));
    await late;
    expect(shown).toEqual([]);
    tail.take(list(["a"], "c1"));
    expect(shown).toEqual(["a"]);
  });

  it("shows nothing after it was closed", () => {
    const { tail, shown } = world();
    tail.begin();
    tail.close();
    tail.take(list(["a"], "c1"));
    expect(shown).toEqual([]);
  });
});
