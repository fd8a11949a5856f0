import { describe, expect, it } from "vitest";
import type { RunDetail, RunEvent, RunListed, RunPage } from "../src/api/types";
import { gathered, withEvents, withoutRun, withRun, withStatus } from "../src/live/news";

const run = (id: string, more: Partial<RunListed> = {}) => ({ id, name: id, status: "RUNNING", version: 1, step: 0, ...more }) as RunListed;
const event = (seq: number, kind = "evaluated", time = "2026-01-31T12:00:00.000Z") => ({ seq, kind, time, message: "", attempt: 1, facts: {} }) as RunEvent;

describe("messages of a run", () => {
  it("become one piece of news: the newest status, all events and points", () => {
    const news = gathered([
      { kind: "status", data: run("a", { step: 1 }) },
      { kind: "metric", data: { points: [{ step: 1 }, { step: 2 }] } },
      { kind: "event", data: event(1) },
      { kind: "status", data: run("a", { step: 2 }) },
      { kind: "metric", data: { points: [{ step: 3 }] } },
    ]);
    expect(news.status?.step).toBe(2);
    expect(news.events.map((one) => one.seq)).toEqual([1]);
    expect(news.points.map((point) => point.step)).toEqual([1, 2, 3]);
    expect(news.ended).toBe(false);
  });

  it("say what must be asked for again", () => {
    const stale = (kind: string) => [...gathered([{ kind: "event", data: event(1, kind) }]).stale].sort();
    expect(stale("generation-started")).toEqual(["generations", "goodput", "timeline", "workers"]);
    expect(stale("worker-lost")).toEqual(["timeline", "workers"]);
    expect(stale("checkpoint-committed")).toEqual(["checkpoints"]);
    expect(stale("evaluated")).toEqual([]);
    expect(gathered([{ kind: "end", data: { deleted: false } }]).stale).toContain("audit");
  });

  it("from before the page was opened make nothing stale", () => {
    const known = Date.parse("2026-01-31T12:00:00.000Z");
    const stale = (time: string) => gathered([{ kind: "event", data: event(1, "worker-lost", time) }, { kind: "worker", data: { since: time } }], known).stale.size;
    expect(stale("2026-01-31T11:59:59.999Z")).toBe(0);
    expect(stale("2026-01-31T12:00:00.000Z")).toBe(2);
  });

  it("tell of the end, and of a run that was deleted", () => {
    expect(gathered([{ kind: "end", data: { deleted: true } }])).toMatchObject({ ended: true, deleted: true });
    expect(gathered([{ kind: "trouble", data: { message: "a broken line" } }]).trouble).toBe("a broken line");
  });
});

describe("what the page has", () => {
  it("keeps the spec and why a run waits when its status changes", () => {
    const old = { ...run("a"), spec: { task: "t" }, wait: { position: 1, why: "room" } } as RunDetail;
    expect(withStatus(old, run("a", { step: 9 }))).toMatchObject({ step: 9, spec: { task: "t" }, wait: { position: 1 } });
  });

  it("does not go back to an older version of a run", () => {
    const old = { ...run("a", { version: 5, status: "PAUSED" }) } as RunDetail;
    expect(withStatus(old, run("a", { version: 4 }))).toBe(old);
  });

  it("takes each event once, in order", () => {
    const known = [event(1), event(2)];
    expect(withEvents(known, [event(2), event(3)]).map((one) => one.seq)).toEqual([1, 2, 3]);
    expect(withEvents(known, [event(1)])).toBe(known);
  });

  it("changes a run where it is in a list, and says so where it is not", () => {
    const pages = [{ runs: [run("a"), run("b")], total: 2 }, { runs: [run("c")], total: 2 }] as unknown as RunPage[];
    const changed = withRun(pages, run("c", { step: 4 }))!;
    expect(changed[0]).toBe(pages[0]);
    expect(changed[1]!.runs[0]!.step).toBe(4);
    expect(withRun(pages, run("d"))).toBeNull();
    expect(withoutRun(pages, "a")[0]!.runs.map((one) => one.id)).toEqual(["b"]);
  });
});
