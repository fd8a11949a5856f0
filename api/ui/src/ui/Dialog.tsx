/** A question before something is done. The browser's own <dialog>: focus stays in it, Escape closes it. */
import { type FormEvent, type ReactNode, useEffect, useId, useRef, useState } from "react";
import { Trouble } from "./Trouble";

interface DialogProps {
  title: string;
  children?: ReactNode;
  /** What the button says that does it; none: only Close. */
  verb?: string;
  danger?: boolean;
  onConfirm?: () => Promise<unknown>;
  onClose: () => void;
}

export function Dialog({ title, children, verb, danger, onConfirm, onClose }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    const shown = dialog.current;
    if (shown && !shown.open) shown.showModal();
    return () => shown?.close();
  }, []);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await onConfirm?.();
      onClose();
    } catch (refusal) {
      setError(refusal);
      setBusy(false);
    }
  };
  return (
    <dialog ref={dialog} aria-labelledby={heading} onClose={onClose}>
      <form onSubmit={submit}>
        <div className="dialog-body">
          <h2 id={heading}>{title}</h2>
          {children}
          {error !== null && <Trouble error={error} />}
        </div>
        <div className="dialog-foot">
          <button type="button" className="button" onClick={onClose}>
            {verb ? "Back" : "Close"}
          </button>
          {verb && (
            <button type="submit" className={`button primary${danger ? " danger" : ""}`} disabled={busy}>
              {busy && <i className="spinner" aria-hidden="true" />}
              {verb}
            </button>
          )}
        </div>
      </form>
    </dialog>
  );
}
