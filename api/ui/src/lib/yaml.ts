/** Plain data as YAML 1.2, for reading and copying: a spec that `tumbler submit -f` takes. */

const PLAIN = /^[A-Za-z_./][\w./+-]*( [\w./+-]+)*$/;
const WORD = /^(true|false|null|yes|no|on|off|y|n)$/i;

export function yaml(value: unknown, depth = 0): string {
  if (Array.isArray(value)) {
    if (!value.length) return "[]";
    if (value.every((item) => typeof item !== "object" || item === null)) return `[${value.map(scalar).join(", ")}]`;
    return value.map((item) => `\n${pad(depth)}- ${yaml(item, depth + 1).trimStart()}`).join("");
  }
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value);
    if (!entries.length) return "{}";
    return entries.map(([key, inner]) => `\n${pad(depth)}${scalar(key)}:${after(yaml(inner, depth + 1))}`).join("");
  }
  return scalar(value);
}

export function document(value: unknown): string {
  return `${yaml(value).trimStart()}\n`;
}

function after(text: string): string {
  return text.startsWith("\n") ? text : ` ${text}`;
}

function pad(depth: number): string {
  return "  ".repeat(depth);
}

function scalar(value: unknown): string {
  if (typeof value !== "string") return JSON.stringify(value) ?? "null";
  return PLAIN.test(value) && !WORD.test(value) ? value : JSON.stringify(value);
}
