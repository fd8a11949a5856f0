import type { Refusal } from "../../api/client";
import type { DryRun, FieldProblem } from "../../api/types";
import { plural } from "../../lib/format";
import { Trouble } from "../../ui/Trouble";

interface PlanProps {
  plan: DryRun | null;
  problems: FieldProblem[];
  refusal: Refusal | null;
  busy: boolean;
}

export function Plan({ plan, problems, refusal, busy }: PlanProps) {
  return (
    <div id="spec-problems" aria-live="polite" aria-busy={busy}>
      {problems.length > 0 ? (
        <Problems problems={problems} hint={refusal?.hint ?? ""} />
      ) : refusal ? (
        <Trouble error={refusal} />
      ) : plan ? (
        <Good plan={plan} />
      ) : (
        <p className="faint">Asking the service…</p>
      )}
    </div>
  );
}

function Good({ plan: { plan, spec } }: { plan: DryRun }) {
  const { min, max } = plan.workers;
  const train = (spec as { train?: { steps?: number | null; global_batch?: number } }).train;
  return (
    <div className="plan">
      <p className={`callout ${plan.fits && !plan.why ? "good-callout" : ""}`}>
        {plan.fits ? (plan.why ? `It would wait: ${plan.why}` : "It would start at once.") : `It would wait: ${plan.why ?? "the cluster as it is cannot hold it"}`}
      </p>
      <dl className="facts">
        <dt>Workers</dt>
        <dd>{min === max ? max : `${min} to ${max}`}</dd>
        <dt>Ahead of it</dt>
        <dd>{plural(plan.ahead, "run")}</dd>
        {train?.steps && (
          <>
            <dt>Steps</dt>
            <dd>
              {train.steps}, {train.global_batch} rows each
            </dd>
          </>
        )}
      </dl>
    </div>
  );
}

function Problems({ problems, hint }: { problems: FieldProblem[]; hint: string }) {
  return (
    <div className="plan">
      <p className="callout bad-callout">{plural(problems.length, "thing")} wrong with the spec.</p>
      <ol className="problems">
        {problems.map((problem, index) => (
          <li key={index}>
            <span className="faint num small">{problem.line ? `line ${problem.line}${problem.column ? `:${problem.column}` : ""}` : "spec"}</span>
            <span>
              {problem.pointer && <code>{problem.pointer.slice(1).replaceAll("/", ".")}</code>} {problem.message}
            </span>
          </li>
        ))}
      </ol>
      {hint && <p className="soft small">{hint}</p>}
    </div>
  );
}
