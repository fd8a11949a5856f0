import { useNavigate } from "@tanstack/react-router";
import { useKeys } from "../lib/keys";

/** Keys that work on every page; `/` goes to what is marked as its search. */
export function useShellKeys(help: () => void): void {
  const navigate = useNavigate();
  useKeys({
    "g r": () => void navigate({ to: "/" }),
    "g c": () => void navigate({ to: "/cluster" }),
    "g s": () => void navigate({ to: "/submit" }),
    "?": help,
    "/": () => document.querySelector<HTMLInputElement>("[data-search]")?.focus(),
    t: () => document.querySelector<HTMLButtonElement>("[data-key=t]")?.click(),
  });
}
