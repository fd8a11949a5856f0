/** A spec in an editor, what would become of it, and what is wrong with it, field by field. */
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { ask, Refusal } from "../../api/client";
import type { DryRun, FieldProblem } from "../../api/types";
import { dryRun, submit } from "../../api/verbs";
import { useTitle } from "../../lib/title";
import { Dialog } from "../../ui/Dialog";
import { Copy } from "../../ui/Copy";
import { Panel } from "../../ui/Panel";
import { toast } from "../../ui/toasts";
import { Editor } from "./Editor";
import { Plan } from "./Plan";
import "../../styles/submit.css";

const BEGIN = `version: 1
task: language_model
workers: {min: 1, max: 2}
data: {source: dataset://stdlib}
train:
  steps: 500
  global_batch: 16
`;
const KEPT = "tumbler-spec";
const QUIET_MS = 500;

export function SubmitPage() {
  useTitle("Submit");
  const navigate = useNavigate();
  const [text, setText] = useState(() => kept() ?? BEGIN);
  const [asking, setAsking] = useState(false);
  const checked = useChecked(text);
  const key = useRef(crypto.randomUUID());
  const change = (next: string) => {
    key.current = crypto.randomUUID();
    keep(next);
    setText(next);
  };
  const send = async () => {
    const run = await submit(text, key.current);
    toast(`${run.name} is submitted`);
    await navigate({ to: "/runs/$ref", params: { ref: run.name } });
  };
  const tasks = useQuery({ queryKey: ["tasks"], queryFn: () => ask<{ tasks: { name: string }[] }>("/tasks"), staleTime: Number.POSITIVE_INFINITY });
  const datasets = useQuery({ queryKey: ["datasets"], queryFn: () => ask<{ datasets: { source: string }[] }>("/datasets"), staleTime: Number.POSITIVE_INFINITY });
  return (
    <>
      <div className="row wrap page-title">
        <h1>Submit a run</h1>
        <span className="grow" />
        <button type="button" className="button" onClick={() => change(BEGIN)}>
          Begin anew
        </button>
        <button type="button" className="button primary" disabled={!checked.plan || checked.busy} onClick={() => setAsking(true)}>
          Submit
        </button>
      </div>
      <div className="submit">
        <Panel title="Spec" note="YAML" cli="tumbler submit -f run.yaml" api="/schemas/run.json" tools={<Copy text={text} label="Copy the spec" word="YAML" />} flush>
          <Editor text={text} onChange={change} problems={checked.problems} onSubmit={() => checked.plan && setAsking(true)} />
        </Panel>
        <div className="submit-side">
          <Panel title="What would become of it" note={checked.busy ? "asking…" : undefined} cli="tumbler submit -f run.yaml --dry-run">
            <Plan plan={checked.plan} problems={checked.problems} refusal={checked.refusal} busy={checked.busy} />
          </Panel>
          <Panel title="What a spec can name">
            <dl className="facts">
              <dt>task</dt>
              <dd className="mono">{tasks.data?.tasks.map((task) => task.name).join(", ") ?? "…"}</dd>
              <dt>data.source</dt>
              <dd className="mono">{datasets.data?.datasets.map((one) => one.source).join(", ") ?? "…"}, a path, a glob or a URI</dd>
            </dl>
          </Panel>
        </div>
      </div>
      {asking && (
        <Dialog title="Submit this run?" verb="Submit" onConfirm={send} onClose={() => setAsking(false)}>
          <p className="soft">It starts as soon as there is room for its smallest group.</p>
        </Dialog>
      )}
    </>
  );
}

interface Checked {
  plan: DryRun | null;
  problems: FieldProblem[];
  refusal: Refusal | null;
  busy: boolean;
}

/** What the service says of the text, a moment after nobody typed. */
function useChecked(text: string): Checked {
  const [found, setFound] = useState<Checked>({ plan: null, problems: [], refusal: null, busy: true });
  useEffect(() => {
    let stale = false;
    setFound((old) => ({ ...old, busy: true }));
    const timer = setTimeout(async () => {
      const next = await check(text);
      if (!stale) setFound(next);
    }, QUIET_MS);
    return () => {
      stale = true;
      clearTimeout(timer);
    };
  }, [text]);
  return found;
}

async function check(text: string): Promise<Checked> {
  try {
    return { plan: await dryRun(text), problems: [], refusal: null, busy: false };
  } catch (error) {
    const refusal = error instanceof Refusal ? error : new Refusal(0, String(error));
    return { plan: null, problems: refusal.errors, refusal, busy: false };
  }
}

function kept(): string | null {
  try {
    return sessionStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

function keep(text: string): void {
  try {
    sessionStorage.setItem(KEPT, text);
  } catch {
    // No storage: until the page is left.
  }
}
