/** How our charts look: uPlot's options from a few plain words. */
import uPlot from "uplot";
import { count, number, tick } from "../lib/format";
import { newest } from "../lib/series";
import { color } from "./colors";

export interface Line {
  label: string;
  values: (number | null)[];
  /** A CSS colour. */
  color: string;
  width?: number;
  dash?: number[];
  /** Points and no line between: for what is measured seldom. */
  points?: boolean;
  stepped?: boolean;
  fill?: string;
  /** Drawn, but not in the legend. */
  quiet?: boolean;
}

/** A vertical line: where a generation began. */
export interface Mark {
  x: number;
  label: string;
  tone?: string;
}

export interface ChartStyle {
  height: number;
  /** Charts of one name share their cursor. */
  sync?: string;
  log?: boolean;
  /** Whole numbers on the left. */
  whole?: boolean;
  fromZero?: boolean;
  unit?: string;
}

const FONT = "11px ui-sans-serif, system-ui, sans-serif";
const AXIS = 52;
const MANY_MARKS = 25;

export function optionsOf(
  lines: readonly Line[],
  style: ChartStyle,
  width: number,
  marks: () => readonly Mark[],
  onZoom?: (from: number, to: number) => void,
): uPlot.Options {
  const axis = { stroke: color("--faint"), font: FONT, ticks: { show: false }, grid: { stroke: color("--grid"), width: 1 } };
  const left = (value: number) => (style.whole ? (Number.isInteger(value) ? count(value) : "") : tick(value));
  return {
    width,
    height: style.height,
    padding: [8, 20, 0, 0],
    legend: { live: true },
    cursor: {
      sync: style.sync ? { key: style.sync, setSeries: false } : undefined,
      points: { size: 6 },
      drag: { x: true, y: false, setScale: !onZoom },
      focus: { prox: 24 },
    },
    scales: {
      x: { time: false },
      y: style.log ? { distr: 3 } : { range: rangeOf(style) },
    },
    axes: [
      { ...axis, size: 28, grid: { show: false }, values: (_, steps) => steps.map((step) => (Number.isInteger(step) ? shortCount(step) : "")) },
      { ...axis, size: AXIS, values: (_, values) => values.map((value) => (value === null ? "" : left(value))) },
    ],
    series: [
      { label: "step", value: (plot, value) => count(value ?? newest(plot.data[0])) },
      ...lines.map((line) => seriesOf(line, style)),
    ],
    hooks: {
      draw: [(plot) => drawMarks(plot, marks())],
      setSelect: onZoom ? [(plot) => select(plot, onZoom)] : [],
    },
  };
}

function seriesOf(line: Line, style: ChartStyle): uPlot.Series {
  const many = line.values.length > 60;
  return {
    label: line.label,
    stroke: line.color,
    width: line.width ?? 1.6,
    dash: line.dash,
    fill: line.fill,
    paths: line.stepped ? uPlot.paths.stepped?.({ align: 1 }) : undefined,
    points: line.points
      ? { show: true, size: 5, fill: line.color, stroke: line.color }
      : { show: !many && !line.stepped && !line.quiet, size: 4, fill: line.color },
    spanGaps: true,
    // With no cursor on the chart: the newest one.
    value: (plot, value, index, at) => {
      const shown = at === null || at === undefined ? newest(plot.data[index] ?? []) : value;
      return shown === null || shown === undefined ? "–" : `${number(shown, 5)}${style.unit ? ` ${style.unit}` : ""}`;
    },
  };
}

function rangeOf(style: ChartStyle): uPlot.Scale.Range {
  return (_plot, low, high) => {
    if (low === null || high === null) return [0, 1];
    const from = style.fromZero ? Math.min(0, low) : low;
    const room = (high - from || Math.abs(high) || 1) * 0.08;
    // Room above for what the marks say.
    return [style.fromZero ? from : from - room, high + 2 * room];
  };
}

function drawMarks(plot: uPlot, marks: readonly Mark[]): void {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.font = `${10 * ratio}px ui-sans-serif, system-ui, sans-serif`;
  ctx.lineWidth = ratio;
  ctx.textAlign = "left";
  ctx.textBaseline = "alphabetic";
  let free = Number.NEGATIVE_INFINITY;
  for (const mark of marks) {
    const x = Math.round(plot.valToPos(mark.x, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = ctx.fillStyle = color(mark.tone ?? "--mark");
    ctx.globalAlpha = marks.length > MANY_MARKS ? 0.32 : 0.75;
    ctx.setLineDash([3 * ratio, 3 * ratio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    if (x < free) continue;
    ctx.globalAlpha = 1;
    ctx.fillText(mark.label, x + 3 * ratio, bbox.top + 9 * ratio);
    free = x + ctx.measureText(mark.label).width + 8 * ratio;
  }
  ctx.restore();
}

function select(plot: uPlot, onZoom: (from: number, to: number) => void): void {
  const { left, width } = plot.select;
  if (width < 6) return;
  onZoom(Math.floor(plot.posToVal(left, "x")), Math.ceil(plot.posToVal(left + width, "x")));
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
}

/** `1.2k`, `30k`, `1.5M`: steps under a chart. */
export function shortCount(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`;
  return count(value);
}
