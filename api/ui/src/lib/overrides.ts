/** `train.seed=2` a line, as `--set` of the command takes them: a value is JSON where it can be read as that. */

export function parseOverrides(text: string): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const line of text.split("\n").map((one) => one.trim())) {
    if (!line) continue;
    const at = line.indexOf("=");
    if (at < 1) throw new Error(`expected FIELD=VALUE such as train.seed=2, got ${line}`);
    found[line.slice(0, at).trim()] = valueOf(line.slice(at + 1).trim());
  }
  return found;
}

function valueOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
