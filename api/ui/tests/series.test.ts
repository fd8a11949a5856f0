import { describe, expect, it } from "vitest";
import { pathOf } from "../src/charts/Sparkline";
import { joined } from "../src/lib/joined";
import { countUntil, seriesOf, smoothed, thinned, withPoints } from "../src/lib/series";
import { sizes } from "../src/pages/run/world";

const three = () => seriesOf({ step: [1, 2, 3], loss: [3, 2, 1], val_loss: [null, null, null] });

describe("points that come while a run trains", () => {
  it("are put behind those that are there", () => {
    expect(withPoints(three(), [{ step: 4, loss: 0.5, lr: 1 }])).toEqual({
      step: [1, 2, 3, 4],
      values: { loss: [3, 2, 1, 0.5], val_loss: [null, null, null, null] },
    });
  });

  it("may come twice without harm", () => {
    const once = withPoints(three(), [{ step: 4, loss: 0.5 }]);
    expect(withPoints(once, [{ step: 3, loss: 1 }, { step: 4, loss: 0.5 }])).toEqual(once);
  });

  it("of an evaluation are merged into their step", () => {
    const next = withPoints(three(), [{ kind: "evaluation", step: 3, val_loss: 1.5 }]);
    expect(next.step).toEqual([1, 2, 3]);
    expect(next.values).toEqual({ loss: [3, 2, 1], val_loss: [null, null, 1.5] });
  });

  it("of an evaluation at a step that was thinned out find their place", () => {
    const sparse = seriesOf({ step: [10, 20], loss: [2, 1], val_loss: [null, null] });
    const next = withPoints(sparse, [{ kind: "evaluation", step: 15, val_loss: 1.5 }]);
    expect(next).toEqual({ step: [10, 15, 20], values: { loss: [2, null, 1], val_loss: [null, 1.5, null] } });
  });

  it("of a rewind undo what came after its step, and what follows is done again", () => {
    const next = withPoints(three(), [{ kind: "rewind", step: 1 }, { step: 2, loss: 9 }]);
    expect(next).toEqual({ step: [1, 2], values: { loss: [3, 9], val_loss: [null, null] } });
  });

  it("of a kind that is not known are passed over", () => {
    expect(withPoints(three(), [{ kind: "attempt", step: 3 }])).toEqual(three());
  });

  it("leave the series that was there as it was", () => {
    const before = three();
    withPoints(before, [{ kind: "rewind", step: 0 }]);
    expect(before).toEqual(three());
  });
});

describe("a series", () => {
  it("has gaps where a number is not finite", () => {
    expect(seriesOf({ step: [1, 2, 3], loss: [1, "NaN", "Infinity"] }).values.loss).toEqual([1, null, null]);
  });

  it("that is thinned out keeps its last step, and the newest value of each group", () => {
    const step = Array.from({ length: 10_001 }, (_, index) => index + 1);
    const val = step.map((one) => (one % 100 === 0 ? one : null));
    const thin = thinned({ step, values: { loss: step.slice(), val } }, 2000);
    expect(thin.step).toHaveLength(2000);
    expect(thin.step.at(-1)).toBe(10_001);
    expect(thin.values.loss!.at(-1)).toBe(10_001);
    expect(thin.values.val!.filter((one) => one !== null)).toHaveLength(100);
  });

  it("that is short is left alone", () => {
    const short = three();
    expect(thinned(short, 3)).toBe(short);
  });

  it("is smoothed without a bias at its beginning, and keeps its gaps", () => {
    expect(smoothed([4, 4, null, 4], 0.9).map((one) => (one === null ? null : Math.round(one * 1e9) / 1e9))).toEqual([4, 4, null, 4]);
    expect(smoothed([1, 2], 0)).toEqual([1, 2]);
  });

  it("counts its steps up to one", () => {
    expect([0, 1, 2, 5, 9].map((limit) => countUntil([1, 2, 5], limit))).toEqual([0, 1, 2, 3, 3]);
  });
});

it("joins curves of several runs on one axis", () => {
  const other = seriesOf({ step: [2, 4], loss: [7, 8] });
  expect(joined([three(), undefined, other], "loss")).toEqual({
    x: [1, 2, 3, 4],
    columns: [[3, 2, 1, null], [null, null, null, null], [null, 7, null, 8]],
  });
});

it("knows how many workers trained at a step, also where steps were undone", () => {
  const generation = (step: number, workers: string[]) => ({ step, workers }) as never;
  const generations = [generation(0, ["w1", "w2"]), generation(2, ["w1"]), generation(1, ["w1", "w3", "w4"])];
  expect(sizes(generations, three())).toEqual([2, 3, 3]);
});

it("draws no curve of a single point", () => {
  expect(pathOf([1], [2])).toBeNull();
  expect(pathOf([1, 2, 3], [2, null, 1])).toMatch(/^M1\.0 2\.0L95\.0 20\.0$/);
});
