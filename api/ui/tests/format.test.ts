import { describe, expect, it } from "vitest";
import { ago, bytes, count, duration, number, percent, span, tick } from "../src/lib/format";

describe("numbers", () => {
  it.each([
    [null, "–"],
    ["NaN", "NaN"],
    [0, "0"],
    [2.00003, "2.000"],
    [1.23456, "1.235"],
    [1234, "1,234"],
    [12345.6, "12,346"],
    [1.5e7, "1.50e7"],
    [0.0003, "3.00e-4"],
    [-0.5, "-0.5000"],
  ])("%s is told as %s", (value, told) => expect(number(value)).toBe(told));

  it("are short on an axis", () => expect([0.5, 2, 1.25, 0.0003].map(tick)).toEqual(["0.5", "2", "1.25", "3.00e-4"]));
  it("are counted with commas", () => expect([0, 999, 1000, 1234567].map(count)).toEqual(["0", "999", "1,000", "1,234,567"]));
  it("are shares", () => expect([null, 0, 0.0004, 0.953, 1].map(percent)).toEqual(["–", "0 %", "<0.1 %", "95.3 %", "100 %"]));
  it("are sizes", () => expect([0, 1023, 1536, 123 * 1024 ** 2, 5 * 1024 ** 3].map(bytes)).toEqual(["0 B", "1023 B", "1.5 KiB", "123 MiB", "5.0 GiB"]));
});

describe("times", () => {
  it("are told in two units", () => {
    expect([0, 0.25, 4.25, 59.6, 65, 3599.7, 7320, 270_000].map(duration)).toEqual(["0 s", "250 ms", "4.3 s", "60 s", "1m 05s", "1h 00m", "2h 02m", "3d 3h"]);
  });

  it("are told as an age", () => {
    const now = Date.parse("2026-01-31T12:00:00Z");
    expect(["2026-01-31T11:59:58Z", "2026-01-31T11:59:18Z", "2026-01-31T11:53:00Z", "2026-01-31T09:00:00Z", "2026-01-19T12:00:00Z"].map((time) => ago(time, now))).toEqual(["now", "42 s", "7 min", "3 h", "12 d"]);
  });

  it("of a run go on until it ended", () => {
    expect(span("2026-01-31T12:00:00Z", "2026-01-31T12:00:30Z", 0)).toBe(30);
    expect(span("2026-01-31T12:00:00Z", null, Date.parse("2026-01-31T12:01:00Z"))).toBe(60);
    expect(span(null, null, 0)).toBeNull();
  });
});
