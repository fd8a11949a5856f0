/** Loss, validation, throughput and world size over steps, with the generations marked on all of them. */
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { runPath } from "../../api/client";
import { detailQuery, generationsQuery, metricsQuery, USUAL_KEYS } from "../../api/queries";
import type { Generation, RunDetail } from "../../api/types";
import { Chart } from "../../charts/Chart";
import { ChartTable, useTable } from "../../charts/ChartTable";
import { color } from "../../charts/colors";
import type { ChartStyle, Line, Mark } from "../../charts/options";
import { useMedia } from "../../lib/media";
import { count } from "../../lib/format";
import { type Series, smoothed } from "../../lib/series";
import { useTheme } from "../../lib/theme";
import { Empty, Panel } from "../../ui/Panel";
import { Trouble } from "../../ui/Trouble";
import { worldOf } from "./world";

/** More of them than this are a line without dots. */
const MOST_DOTS = 120;
const SMOOTH = [0, 0.6, 0.9, 0.97] as const;

type Span = [number, number] | null;

export function Curves({ run }: { run: RunDetail }) {
  const theme = useTheme();
  const [span, setSpan] = useState<Span>(null);
  const [smooth, setSmooth] = useState<number>(0);
  const [log, setLog] = useState(false);
  const others = useMemo(() => extraKeys(run), [Object.keys(run.metrics).join()]);
  const [extra, setExtra] = useState("");
  const keys = useMemo(() => (extra ? [...USUAL_KEYS, extra] : [...USUAL_KEYS]), [extra]);
  const whole = useQuery({ ...metricsQuery(run.id, keys), placeholderData: (old) => old });
  const near = useQuery({ ...detailQuery(run.id, keys, span?.[0] ?? 0, span?.[1] ?? 0), enabled: span !== null });
  const generations = useQuery(generationsQuery(run.id)).data;
  const series = span ? (near.data ?? cut(whole.data, span)) : whole.data;
  const marks = useMemo(() => marksOf(generations), [generations]);
  const batch = batchOf(run);
  const views = useMemo(
    () => (series ? viewsOf(series, generations ?? [], { smooth, extra, batch }) : null),
    [series, generations, smooth, extra, batch, theme],
  );
  const api = runPath(run.name, `/metrics?keys=${keys.join(",")}`);
  const shared = { cli: `tumbler metrics ${run.name}`, api, marks, onZoom: (from: number, to: number) => setSpan([from, to]), onReset: () => setSpan(null) };

  return (
    <div className="curves" id="curves">
      <div className="row wrap curve-tools">
        <div className="segments" role="group" aria-label="Smoothing">
          {SMOOTH.map((weight) => (
            <button key={weight} type="button" aria-pressed={smooth === weight} onClick={() => setSmooth(weight)}>
              {weight ? `smooth ${weight}` : "as measured"}
            </button>
          ))}
        </div>
        <button type="button" className="button" aria-pressed={log} onClick={() => setLog(!log)}>
          {log ? "Logarithmic" : "Linear"}
        </button>
        {others.length > 0 && (
          <select className="select" aria-label="One more metric" value={extra} onChange={(event) => setExtra(event.target.value)}>
            <option value="">One more metric…</option>
            {others.map((key) => (
              <option key={key}>{key}</option>
            ))}
          </select>
        )}
        {span ? (
          <button type="button" className="button" onClick={() => setSpan(null)}>
            Steps {count(span[0])} to {count(span[1])} · show all
          </button>
        ) : (
          <span className="faint small">Drag over a curve to look nearer; double-click shows all.</span>
        )}
      </div>
      {whole.error && !whole.data && <Trouble error={whole.error} again={() => void whole.refetch()} />}
      {views && (
        <div className="curve-grid">
          <Curve {...shared} className="curve-wide" title="Loss" view={views.loss} style={{ height: 260, sync: run.id, log }} note={views.validated ? "training and validation" : "training"} />
          {views.extra && <Curve {...shared} title={extra} view={views.extra} style={{ height: 180, sync: run.id }} />}
          <Curve {...shared} title="Throughput" view={views.throughput} style={{ height: 180, sync: run.id, fromZero: true }} note={views.throughputUnit} />
          <Curve
            {...shared}
            title="World size"
            view={views.world}
            style={{ height: 180, sync: run.id, fromZero: true, whole: true }}
            note="workers in each generation"
            cli={`tumbler describe ${run.name}`}
            api={runPath(run.name, "/generations")}
          />
        </div>
      )}
      {!views && !whole.error && <Empty>Looking…</Empty>}
    </div>
  );
}

interface View {
  x: number[];
  lines: Line[];
}

interface CurveProps {
  title: string;
  view: View;
  style: ChartStyle;
  marks: readonly Mark[];
  cli: string;
  api: string;
  note?: string;
  className?: string;
  onZoom: (from: number, to: number) => void;
  onReset: () => void;
}

function Curve({ title, view, style, marks, cli, api, note, className, onZoom, onReset }: CurveProps) {
  const [table, button] = useTable();
  const narrow = useMedia("(max-width: 860px)");
  const height = narrow ? Math.min(style.height, 190) : style.height;
  return (
    <Panel title={title} note={note} cli={cli} api={api} tools={button} className={className}>
      {view.x.length === 0 ? (
        <Empty>No step was done yet.</Empty>
      ) : table ? (
        <ChartTable x={view.x} lines={view.lines} caption={`${title} by step`} />
      ) : (
        <Chart
          {...style}
          height={height}
          label={`${title} over ${count(view.x.at(-1))} steps. The button Table shows the numbers.`}
          x={view.x}
          lines={view.lines}
          marks={marks}
          onZoom={onZoom}
          onReset={onReset}
        />
      )}
    </Panel>
  );
}

function viewsOf(series: Series, generations: Generation[], { smooth, extra, batch }: { smooth: number; extra: string; batch: number | null }) {
  const { step, values } = series;
  const loss = values.loss ?? [];
  const val = values.val_loss ?? [];
  const validations = val.filter((value) => value !== null).length;
  const validated = validations > 0;
  const lines: Line[] = [
    ...(smooth ? [{ label: "measured", values: loss, color: `${color("--c1")}55`, width: 1, quiet: true }] : []),
    { label: "loss", values: smoothed(loss, smooth), color: color("--c1") },
    ...(validated ? [{ label: "validation", values: val, color: color("--c2"), points: validations <= MOST_DOTS }] : []),
  ];
  const scale = batch ?? 1;
  const speed = (values.step_s ?? []).map((seconds) => (seconds ? scale / seconds : null));
  const other = extra ? { x: step, lines: [{ label: extra, values: smoothed(values[extra] ?? [], smooth), color: color("--c4") }] } : null;
  return {
    loss: { x: step, lines },
    validated,
    extra: other,
    throughput: { x: step, lines: [{ label: batch ? "rows/s" : "steps/s", values: smoothed(speed, smooth), color: color("--c3") }] },
    throughputUnit: batch ? "rows a second" : "steps a second",
    world: worldOf(generations, series),
  };
}

function marksOf(generations: Generation[] | undefined): Mark[] {
  const first = generations?.[0];
  return (generations ?? [])
    .filter((generation) => generation !== first)
    .map(({ step, number, attempt, steps_repeated }) => ({
      x: step,
      label: number === 1 ? `attempt ${attempt}` : `g${number}`,
      tone: steps_repeated > 0 || number === 1 ? "--bad" : "--mark",
    }));
}

function cut(series: Series | undefined, [from, to]: [number, number]): Series | undefined {
  if (!series) return undefined;
  const kept = series.step.flatMap((step, at) => (step >= from && step <= to ? [at] : []));
  return {
    step: kept.map((at) => series.step[at]!),
    values: Object.fromEntries(Object.entries(series.values).map(([name, column]) => [name, kept.map((at) => column[at] ?? null)])),
  };
}

function extraKeys(run: RunDetail): string[] {
  return Object.keys(run.metrics).filter((key) => !(USUAL_KEYS as readonly string[]).includes(key));
}

function batchOf(run: RunDetail): number | null {
  const batch = (run.spec as { train?: { global_batch?: unknown } }).train?.global_batch;
  return typeof batch === "number" ? batch : null;
}
