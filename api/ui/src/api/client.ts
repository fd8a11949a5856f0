/** Asks the service, and turns its refusals (problem+json) into errors with a sentence and a hint. */
import type { FieldProblem, Problem } from "./types";

export const API = "/api/v1";

export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly hint = "",
    readonly code = "",
    readonly errors: FieldProblem[] = [],
  ) {
    super(message);
    this.name = "Refusal";
  }
}

export interface Ask {
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  json?: unknown;
  yaml?: string;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** `path` as under /api/v1. Throws Refusal; status 0 means that nobody answered. */
export async function ask<T>(path: string, { method, json, yaml, headers, signal }: Ask = {}): Promise<T> {
  const kind = yaml !== undefined ? "application/yaml" : json !== undefined ? "application/json" : undefined;
  let response: Response;
  try {
    response = await fetch(API + path, {
      method: method ?? "GET",
      headers: { Accept: "application/json", ...(kind ? { "Content-Type": kind } : {}), ...headers },
      body: yaml ?? (json === undefined ? undefined : JSON.stringify(json)),
      signal,
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refusal(0, "the service does not answer", "is it up? `tumbler doctor` says so");
  }
  if (!response.ok) throw await refusalOf(response);
  return (response.status === 204 ? undefined : await response.json()) as T;
}

export async function refusalOf(response: Response): Promise<Refusal> {
  const problem = (await response.json().catch(() => null)) as Problem | null;
  if (!problem?.detail) return new Refusal(response.status, `the service answered ${response.status}`);
  return new Refusal(response.status, problem.detail, problem.hint ?? "", problem.code, problem.errors ?? []);
}

/** A query string of what is there; lists repeat their name. */
export function query(values: Record<string, string | number | boolean | readonly string[] | null | undefined>): string {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined || value === "") continue;
    if (typeof value === "object") for (const one of value) parts.append(name, one);
    else parts.append(name, String(value));
  }
  const text = parts.toString();
  return text && `?${text}`;
}

export function runPath(ref: string, rest = ""): string {
  return `/runs/${encodeURIComponent(ref)}${rest}`;
}

/** Whether asking again may help: nobody answered, or the service says that something is away. */
export function isPassing(error: unknown): boolean {
  return error instanceof Refusal && (error.status === 0 || error.status === 503);
}
