"""Where the commands of the documents are tried: a home, a folder and a service of their own.

What stands for something in a command (RUN, NODE, ...) is filled in from here, and what cannot be
run says why.
"""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError

from cluster.ports import free_ports
from tests.documents import PAGES, ROOT, Command, commands, files_of
from tests.integration.shipped import paced_code

NOT_RUN: Final = {
    r"make ": "the targets are what runs the tests; `make demo` ends in tests/unit/test_cli_demo.py",
    r"git clone": "the repository has no address yet",
    r"prometheus ": "it serves until it is stopped, and is no part of Tumbler",
    r"tensorboard ": "it serves until it is stopped, and is no part of Tumbler",
    r"kubectl ": "there is no Kubernetes here; the manifests are checked in tests/unit/test_manifests.py",
    r"pip install \.": "it would change the environment in which the tests run",
    r".*ray start --address": "it takes a second machine",
    r"tumbler up --ray-address": "it takes a second Ray cluster",
    r"tumbler nodes drain": "it takes a second node; tests/integration/test_node_verbs.py drains one",
}
"""Pattern at the start of a command -> why it is not run."""
FIRST: Final = re.compile(r"tumbler (?:doctor|init|validate|run) ?")
"""What needs no service comes before there is one, for each of them wants the machine for itself."""
LAST: Final = ("cp ", "tumbler down")
"""Left to the end, for they take away what the others need."""
OF_THE_LIVING: Final = re.compile(
    r"tumbler (?:scale|pause|cancel|describe|chaos|workers|checkpoint take)"
    r"|curl .*(?:/scale|/checkpoint\b|PATCH)"
)
"""Said of a run that trains; all else of one that has ended."""
NUM_STEPS: Final = 20
SHORTER: Final = {
    "train.steps=500": f"train.steps={NUM_STEPS}",
    " 400": f" {NUM_STEPS}",
    "/400/": f"/{NUM_STEPS}/",
}
_IN_SPEC: Final = {
    "steps: 500": f"steps: {NUM_STEPS}",
    "evaluate_every: 250": f"evaluate_every: {NUM_STEPS}",
    "warmup_steps: 20": "warmup_steps: 5",
    "every: 100 steps": "every: 10 steps",
}
_TERMINAL: Final = ("SUCCEEDED", "FAILED", "CANCELLED")


def reason_not_to_run(command: Command) -> str | None:
    return next((why for pattern, why in NOT_RUN.items() if re.match(pattern, command.text)), None)


def to_run() -> list[Command]:
    """Each command once, in the order of the pages but for those that are `FIRST` and `LAST`."""
    once = {one.text: one for page in reversed(PAGES) for one in reversed(commands(page))}
    found = [one for page in PAGES for one in commands(page) if once[one.text] == one]
    kept = [one for one in found if reason_not_to_run(one) is None]
    return sorted(kept, key=_turn)


def _turn(command: Command) -> int:
    if FIRST.match(command.text):
        return -1
    return next((LAST.index(start) + 1 for start in LAST if command.text.startswith(start)), 0)


class Scene:
    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder / "checkout", folder / "home"
        (self.folder / "docs").mkdir(parents=True)
        self.home.mkdir()
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        programs = folder / "bin"
        programs.mkdir()
        tumbler = programs / "tumbler"
        tumbler.write_text(f'#!/bin/sh\nexec {sys.executable} -m api.cli.main "$@"\n')
        tumbler.chmod(0o755)
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUMBLER_"))
        }
        self.environment = kept | {
            "HOME": str(self.home),
            "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT),
            "TUMBLER_PORT": str(self.port),
        }
        self._ended: list[str] = []
        self._living = ""
        self._fill()

    def _fill(self) -> None:
        """What a reader has beside them: examples, the files of the pages, some text, code of their own."""
        shutil.copytree(ROOT / "examples", self.folder / "examples")
        for source in (ROOT / "docs").glob("make_*.py"):
            shutil.copy(source, self.folder / "docs")
        for page in PAGES:
            for name, content in files_of(page):
                (self.folder / name).write_text(content.replace("steps: 300", "steps: 60"))
        (self.folder / "books").mkdir()
        text = (ROOT / "README.md").read_text()
        (self.folder / "books" / "one.txt").write_text(text * 10)
        paced_code(self.folder)

    def run(self, command: Command) -> None:
        """As a reader would; fails the test where it does not end with 0."""
        text = self._filled(command)
        if command.text in ("tumbler down", "tumbler down --force"):
            self._cancel(everything=True)
        ended = self.sh(text)
        assert ended.returncode == 0, (
            f"{text}\n{ended.returncode}\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}"
        )
        if command.text == "tumbler init":
            self._shorten(self.folder / "run.yaml")
        if "submit" in text or "--data-binary" in text:
            self._cancel(everything=False, wait=False)

    def sh(self, text: str) -> subprocess.CompletedProcess[str]:
        environment = self.environment
        if text.startswith("ray ") or "$ADDRESS" in text:
            head = json.loads((self.home / ".local/share/tumbler/head.json").read_text())
            addresses = dict.fromkeys(("ADDRESS", "RAY_ADDRESS"), head["dashboard_url"])
            environment = environment | head["env"] | addresses
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", text],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    def close(self) -> None:
        self.sh("tumbler down --force")

    def _filled(self, command: Command) -> str:
        text = re.sub(r"^(tumbler up.*)", r"\1 --num-cpus 8", command.text)
        text = re.sub(r"(?:localhost|127\.0\.0\.1):8700", f"127.0.0.1:{self.port}", text)
        text = text.replace("curl -s", "curl -f -s")
        for old, new in SHORTER.items():
            text = text.replace(old, new)
        places: dict[str, Callable[[], str]] = {
            "runs/RUN": self._local,
            "RUN": lambda: self.living() if OF_THE_LIVING.match(command.text) else self.ended(0),
            "OTHER": lambda: self.ended(1),
            "NODE": lambda: str(self.get("cluster/nodes")["nodes"][0]["id"]),
            "FILES": lambda: "books",
            "STORAGE": lambda: str(self.folder / "runs"),
            "FOLDER": lambda: self._folder(made="tar" in text),
        }
        for word, found in places.items():
            if re.search(rf"(?<![\w/]){word}(?!\w)|(?<=runs/){word}(?=/|\b)", text):
                value = found()
                text = re.sub(rf"(?<!\w){word}(?!\w)", value, text)
        if re.search(r"curl|tumbler (?:submit|nodes|queues|goodput$)|^ray job", text):
            self.service()
        return text

    def _local(self) -> str:
        """The folder of a run that `tumbler run` made of the spec of `tumbler init`."""
        found = (path.parent for path in self.folder.glob("runs/*/spec.json"))
        language = (
            run for run in found if json.loads((run / "spec.json").read_text())["task"] == "language_model"
        )
        return str(next(run for run in language if not (run / "owner").exists()))

    def _folder(self, *, made: bool) -> str:
        path = self.folder / f"out-{secrets.token_hex(4)}"
        if made:
            path.mkdir()
        return str(path)

    def service(self) -> None:
        if not (self.home / ".local/share/tumbler/service.json").exists():
            ended = self.sh("tumbler up --num-cpus 8")
            assert ended.returncode == 0, ended.stderr

    def ended(self, number: int) -> str:
        """The name of a run of the service that has succeeded."""
        self.service()
        if not self._ended:  # those that were submitted as a page says, and followed to their end
            found = self.get("runs?status=SUCCEEDED")["runs"]
            self._ended = [run["name"] for run in found]
        while len(self._ended) <= number:
            name = f"ended-{len(self._ended)}"
            done = self.sh(f"tumbler submit -f run.yaml --set name={name} --set workers=1")
            assert done.returncode == 0, done.stderr
            self._ended.append(name)
        return self._ended[number]

    def living(self) -> str:
        """The name of a run that trains with two workers."""
        self.service()
        status = self.get(f"runs/{self._living}")["status"] if self._living else "CANCELLED"
        if status == "PAUSING":
            self._wait(lambda: self.get(f"runs/{self._living}")["status"] == "PAUSED")
            status = "PAUSED"
        if status == "PAUSED":
            self._post(f"runs/{self._living}/resume")
        elif status in (*_TERMINAL, "CANCELLING"):
            self._living = f"living-{secrets.token_hex(3)}"
            self._post("runs", self._paced(self._living))
        self._wait(lambda: self._trains(self._living))
        return self._living

    def _paced(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "task": "paced:Paced",
            "workers": "1:2",
            "model": {"pause_s": 0.03},
            "code": {"working_dir": str(self.folder)},
            "train": {"steps": 10**6, "global_batch": 16, "logical_shards": 8},
            "checkpoint": {"every": 50},
        }

    def _trains(self, name: str) -> bool:
        run = self.get(f"runs/{name}")
        assert run["status"] not in _TERMINAL, run
        return run["status"] == "RUNNING" and bool(run["step"])

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)

    def _post(self, path: str, body: dict[str, Any] | None = None) -> None:
        request = urllib.request.Request(
            f"{self.url}/api/v1/{path}",
            data=json.dumps(body or {}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10):
            pass

    def _cancel(self, *, everything: bool, wait: bool = True) -> None:
        """What was submitted to see that it can be."""
        if not (self.home / ".local/share/tumbler/service.json").exists():
            return
        active = [run for run in self.get("runs?limit=500")["runs"] if run["status"] not in _TERMINAL]
        names = [run["name"] for run in active if everything or run["name"] != self._living]
        for name in names:
            with suppress(HTTPError):  # it ended meanwhile
                self._post(f"runs/{name}/cancel")
        if wait:
            self._wait(lambda: all(self.get(f"runs/{name}")["status"] in _TERMINAL for name in names))

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "it did not come to that in time"
            time.sleep(0.2)

    def _shorten(self, path: Path) -> None:
        """The spec as a reader with little time would have it: their own text, few steps, full paths."""
        text = path.read_text()
        changes = {**_IN_SPEC, "dataset://stdlib": str(self.folder / "books")}
        changes["file://./runs"] = f"file://{self.folder / 'runs'}"
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        path.write_text(text)


def names(found: Iterable[Command]) -> list[str]:
    """For the ids of tests."""
    return [f"{one.page.stem}:{one.line} {one.text}" for one in found]
