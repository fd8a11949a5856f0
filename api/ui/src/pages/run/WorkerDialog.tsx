import type { RunDetail } from "../../api/types";
import { drainWorker, killWorker } from "../../api/verbs";
import { Copy } from "../../ui/Copy";
import { Dialog } from "../../ui/Dialog";
import { toast } from "../../ui/toasts";

export type WorkerVerb = "kill" | "drain";

interface WorkerDialogProps {
  run: RunDetail;
  worker: string;
  verb: WorkerVerb;
  onClose: () => void;
}

export function WorkerDialog({ run, worker, verb, onClose }: WorkerDialogProps) {
  const kill = verb === "kill";
  const command = `tumbler workers ${run.name} ${verb} ${worker}`;
  const act = async () => {
    await (kill ? killWorker : drainWorker)(run.id, worker);
    toast(kill ? `worker ${worker} will be killed` : `worker ${worker} will leave as soon as another is in its place`);
  };
  return (
    <Dialog
      title={kill ? `Kill worker ${worker}, as a drill?` : `Drain worker ${worker}?`}
      verb={kill ? "Kill it" : "Drain it"}
      danger={kill}
      onConfirm={act}
      onClose={onClose}
    >
      <p className="soft">
        {kill
          ? "Its process is killed without a word. The others train on, and another one comes in its place."
          : "Another worker comes in its place, then it leaves at a step boundary. No step is repeated."}
      </p>
      <div className="command">
        <code className="clip grow">{command}</code>
        <Copy text={command} label="Copy the command" />
      </div>
    </Dialog>
  );
}
