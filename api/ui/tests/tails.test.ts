import { expect, it } from "vitest";
import { addToTail, tailMark, tailSince } from "../src/live/tails";

it("keeps what came since a mark", () => {
  addToTail("a", [{ step: 1 }]);
  const mark = tailMark("a");
  expect(tailSince("a", mark)).toEqual([]);
  addToTail("a", [{ step: 2 }, { step: 3 }]);
  expect(tailSince("a", mark).map((point) => point.step)).toEqual([2, 3]);
  expect(tailSince("b", tailMark("b"))).toEqual([]);
});

it("keeps no more than the newest thousands", () => {
  addToTail("long", Array.from({ length: 10_000 }, (_, index) => ({ step: index })));
  expect(tailSince("long", 0)).toHaveLength(4000);
  expect(tailSince("long", 0).at(-1)!.step).toBe(9999);
});
