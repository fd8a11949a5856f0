/** What is around every page: where one can go, whether the page hears from the service, the keys. */
import { Link, Outlet, useRouterState } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { Toasts } from "../ui/toasts";
import { ConnectionBanner, ConnectionDot } from "./Connection";
import { KeysHelp } from "./KeysHelp";
import { ThemeButton } from "./ThemeButton";
import { useShellKeys } from "./useShellKeys";

export function Shell() {
  const [helping, setHelping] = useState(false);
  useShellKeys(() => setHelping(true));
  const main = useFocusOnNewPage();
  return (
    <>
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <header className="topbar">
        <Link to="/" className="brand" aria-label="Tumbler: all runs">
          <Logo />
          <span>Tumbler</span>
        </Link>
        <nav className="nav" aria-label="Pages">
          <Link to="/" activeOptions={{ exact: true, includeSearch: false }}>
            Runs
          </Link>
          <Link to="/cluster">Cluster</Link>
          <Link to="/compare">Compare</Link>
          <Link to="/submit">Submit</Link>
        </nav>
        <span className="grow" />
        <ConnectionDot />
        <a className="quiet wide" href="/docs">
          REST
        </a>
        <button type="button" className="icon-button wide" onClick={() => setHelping(true)} aria-label="Keys" title="Keys (?)">
          ?
        </button>
        <ThemeButton />
      </header>
      <ConnectionBanner />
      <main id="main" className="page" tabIndex={-1} ref={main}>
        <Outlet />
      </main>
      <Toasts />
      {helping && <KeysHelp onClose={() => setHelping(false)} />}
    </>
  );
}

/** So that a screen reader begins with the new page, and not with what was left of the old one. */
function useFocusOnNewPage() {
  const main = useRef<HTMLElement>(null);
  const path = useRouterState({ select: (state) => state.location.pathname });
  const before = useRef(path);
  useEffect(() => {
    if (before.current !== path) main.current?.focus({ preventScroll: true });
    before.current = path;
  }, [path]);
  return main;
}

function Logo() {
  return (
    <svg viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" fill="#4a5fd9" />
      <path d="M7 20c3.5 0 4-9 8.5-9S20 22 25 22" fill="none" stroke="#fff" strokeWidth="3" strokeLinecap="round" />
      <circle cx="25" cy="11" r="2.6" fill="#fff" />
    </svg>
  );
}
