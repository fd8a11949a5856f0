import { describe, expect, it } from "vitest";
import { query } from "../src/api/client";
import { labels } from "../src/api/queries";
import { matcher } from "../src/lib/keys";
import { lastWriting, withLines } from "../src/lib/logs";
import { parseOverrides } from "../src/lib/overrides";
import { differences } from "../src/lib/specDiff";
import { verbsOf, whyOf } from "../src/lib/status";
import { ordered, spanOf, stagesOf, ticks } from "../src/lib/timeline";
import { document } from "../src/lib/yaml";

describe("specs", () => {
  const spec = (seed: number, more = {}) => ({ task: "language_model", train: { seed, steps: 10 }, model: {}, ...more });

  it("differ by dotted field", () => {
    expect(differences([spec(1), spec(2), spec(1)])).toEqual([{ field: "train.seed", values: ["1", "2", "1"] }]);
  });

  it("differ where one has a field that the other lacks", () => {
    expect(differences([spec(1), spec(1, { labels: { a: "b" } })])).toEqual([{ field: "labels.a", values: [undefined, "b"] }]);
  });

  it("that are the same do not differ", () => expect(differences([spec(1), spec(1)])).toEqual([]));

  it("are written as YAML that reads the same", () => {
    const text = document({ name: "a b", labels: {}, on: "yes", data: { columns: ["x", "1"], shuffle: { seed: 17 } }, empty: null, text: "a: b" });
    expect(text).toBe('name: a b\nlabels: {}\n"on": "yes"\ndata:\n  columns: [x, "1"]\n  shuffle:\n    seed: 17\nempty: null\ntext: "a: b"\n');
  });

  it("take other values as the command does", () => {
    expect(parseOverrides("train.seed=2\n\nmodel.preset=gpt-nano\nworkers={\"min\":1}")).toEqual({ "train.seed": 2, "model.preset": "gpt-nano", workers: { min: 1 } });
    expect(() => parseOverrides("seed")).toThrow("expected FIELD=VALUE");
  });
});

describe("keys", () => {
  it("mean one thing alone, and another after another key", () => {
    const done: string[] = [];
    const keys = { "g r": () => void done.push("g r"), r: () => void done.push("r"), j: () => void done.push("j") };
    const match = matcher();
    const press = (key: string, atMs: number) => match(key, atMs, keys)?.();
    press("j", 0);
    press("g", 100);
    press("r", 200);
    press("g", 300);
    press("r", 5000);
    expect(done).toEqual(["j", "g r", "r"]);
  });
});

describe("logs", () => {
  it("keep the newest lines, each with its number", () => {
    const line = (text: string) => ({ worker: "w1", attempt: 1, text });
    const some = withLines([], [line("a"), line("b")], 3);
    const more = withLines(some, [line("c"), line("d")], 3);
    expect(more.map(({ number, text }) => [number, text])).toEqual([[1, "b"], [2, "c"], [3, "d"]]);
    expect(withLines(more, [], 3)).toBe(more);
  });

  it("show of a progress bar what stands there at last", () => {
    expect(lastWriting("10 %\r50 %\r100 %\r")).toBe("100 %");
  });
});

it("why a run waits and what was said when it came to that are one sentence, if there is any", () => {
  const wait = { position: null, why: "needs 2 workers of 1 CPU each" };
  expect(whyOf({ wait, message: "" })).toBe("needs 2 workers of 1 CPU each");
  expect(whyOf({ wait, message: "urgent-otter has a higher priority" })).toBe("needs 2 workers of 1 CPU each; urgent-otter has a higher priority");
  expect(whyOf({ wait: null, message: "worker w1 raised ValueError" })).toBe("worker w1 raised ValueError");
  expect(whyOf({ wait: { position: null, why: null }, message: "" })).toBe("");
});

describe("a timeline", () => {
  const life = { worker: "w1", attempt: 1, node_id: null, pid: 1, state: "lost", why: null };
  const at = (second: number) => `2026-01-31T12:00:${String(second).padStart(2, "0")}.000Z`;
  const one = { ...life, placed: at(0), started: at(1), warm: at(4), joined: at(5), ended: at(9) };
  const timeline = { workers: [one], generations: [], incidents: [] };

  it("goes from the first worker to the last thing known, or to now", () => {
    expect(spanOf(timeline, null)).toEqual({ from: Date.parse(at(0)), to: Date.parse(at(9)) });
    expect(spanOf(timeline, Date.parse(at(30))).to).toBe(Date.parse(at(30)));
  });

  it("has the stages of a life one after another", () => {
    const seconds = stagesOf(one, spanOf(timeline, null)).map(({ stage, from, to }) => [stage, (to - from) / 1000]);
    expect(seconds).toEqual([["starting", 4], ["warm", 1], ["training", 4]]);
  });

  it("leaves out stages that a life never came to", () => {
    const early = { ...one, warm: null, joined: null, ended: at(2) };
    expect(stagesOf(early, spanOf(timeline, null)).map(({ stage }) => stage)).toEqual(["starting"]);
  });

  it("shows who is there first, where not all fit", () => {
    const lives = [one, { ...one, worker: "w2", ended: at(20) }, { ...one, worker: "w3", ended: null }];
    expect(ordered(lives, 2).map((each) => each.worker)).toEqual(["w3", "w2", "w1"]);
    expect(ordered(lives, 3)).toBe(lives);
  });

  it("has round times under it", () => {
    expect(ticks({ from: 1500, to: 61_000 }, 6)).toEqual([10_000, 20_000, 30_000, 40_000, 50_000, 60_000]);
  });
});

it("asks with what is there", () => {
  expect(query({ a: ["x", "y"], b: "", c: null, d: 0 })).toBe("?a=x&a=y&d=0");
  expect(labels("team=nlp, draft x=1")).toEqual(["team=nlp", "x=1"]);
});

it("offers what the service would take", () => {
  expect(verbsOf({ status: "SUCCEEDED" })).toEqual(["clone", "delete"]);
  expect(verbsOf({ status: "FAILED" })).toContain("retry");
  expect(verbsOf({ status: "RUNNING" })).not.toContain("resume");
  expect(verbsOf({ status: "PAUSED" })).toContain("resume");
});
