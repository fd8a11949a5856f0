import { Dialog } from "../ui/Dialog";

const KEYS: readonly [string, string][] = [
  ["g r", "All runs"],
  ["g c", "Cluster"],
  ["g s", "Submit"],
  ["j  k", "Next, previous run in the list"],
  ["Enter", "Open the run that is marked"],
  ["x", "Mark it for comparison"],
  ["/", "Search"],
  ["t", "Light or dark"],
  ["?", "This help"],
  ["Esc", "Close; leave the search"],
];

export function KeysHelp({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl className="facts">
        {KEYS.map(([keys, what]) => (
          <div key={keys} style={{ display: "contents" }}>
            <dt>
              {keys.split(/ +/).map((key) => (
                <span key={key}>
                  <kbd>{key}</kbd>{" "}
                </span>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
