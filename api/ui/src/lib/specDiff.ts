/** Where specs differ, by dotted field. */

export interface Difference {
  field: string;
  /** One for each spec, in their order; undefined where it has no such field. */
  values: (string | undefined)[];
}

export function differences(specs: readonly unknown[]): Difference[] {
  const flat = specs.map((spec) => flattened(spec));
  const fields = new Set(flat.flatMap((one) => [...one.keys()]));
  return [...fields]
    .map((field) => ({ field, values: flat.map((one) => one.get(field)) }))
    .filter(({ values }) => values.some((value) => value !== values[0]));
}

/** Dotted field -> its value as JSON. An empty object or list is a value; so is a list as a whole. */
export function flattened(value: unknown, prefix = ""): Map<string, string> {
  const found = new Map<string, string>();
  if (isObject(value) && (Object.keys(value).length > 0 || !prefix)) {
    for (const [key, inner] of Object.entries(value)) {
      for (const [field, text] of flattened(inner, prefix ? `${prefix}.${key}` : key)) found.set(field, text);
    }
  } else {
    found.set(prefix, typeof value === "string" ? value : JSON.stringify(value));
  }
  return found;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
