/** Numbers, times and sizes as people read them. */

const DASH = "–";

export function number(value: number | string | null | undefined, digits = 4): string {
  if (value === null || value === undefined) return DASH;
  if (typeof value === "string") return value;
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(2).replace("e+", "e");
  if (Number.isInteger(value)) return count(value);
  if (size >= 1000) return value.toFixed(0).replace(/\B(?=(\d{3})+$)/g, ",");
  return value.toPrecision(digits);
}

/** As short as it can be: for an axis. */
export function tick(value: number): string {
  const text = number(value, 3);
  return /^-?\d+\.\d+$/.test(text) ? text.replace(/\.?0+$/, "") : text;
}

export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? DASH : String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

export function percent(share: number | null | undefined): string {
  if (share === null || share === undefined) return DASH;
  const value = share * 100;
  if (value > 0 && value < 0.1) return "<0.1 %";
  return `${value >= 99.95 || value === 0 ? Math.round(value) : value.toFixed(1)} %`;
}

export function bytes(size: number | null | undefined): string {
  if (size === null || size === undefined) return DASH;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = size;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** Such as `850 ms`, `12.4 s`, `3m 05s`, `2h 10m`, `4d 3h`. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return DASH;
  const s = Math.max(0, seconds);
  if (s > 0 && s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 60) return `${s < 10 && !Number.isInteger(s) ? s.toFixed(1) : Math.round(s)} s`;
  const whole = Math.round(s);
  const [d, h, m] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (d) return `${d}d ${h}h`;
  if (h) return `${h}h ${two(m)}m`;
  return `${m}m ${two(whole % 60)}s`;
}

/** How long ago, in one unit: `now`, `42 s`, `7 min`, `3 h`, `12 d`. */
export function ago(time: string | null | undefined, now: number): string {
  if (!time) return DASH;
  const s = Math.max(0, (now - Date.parse(time)) / 1000);
  if (s < 5) return "now";
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

/** Of a run: from its first generation until it ended, or until now. */
export function span(started: string | null, ended: string | null, now: number): number | null {
  return started ? ((ended ? Date.parse(ended) : now) - Date.parse(started)) / 1000 : null;
}

/** `14:03:09`, in the time zone of the reader. */
export function clock(time: string | number): string {
  const date = new Date(time);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** `31 Jan 14:03:09`. */
export function moment(time: string | null | undefined): string {
  if (!time) return DASH;
  const date = new Date(time);
  return `${date.getDate()} ${MONTHS[date.getMonth()]} ${clock(time)}`;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function two(value: number): string {
  return String(value).padStart(2, "0");
}

export function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}
