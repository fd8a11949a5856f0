"""HTTP to the service: tries again what may be tried again, and turns refusals into errors."""

import ipaddress
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import httpx2

from api.client_errors import error_of
from api.client_streams import stream_timeout
from orchestrator.domain.errors import ServiceUnreachable

PREFIX: Final = "/api/v1"
_PAUSES_S: Final = (0.1, 0.2, 0.4, 0.8, 1.5)
"""Between tries; together what a service that was killed needs to be back."""
_REPEATABLE: Final = frozenset({"GET", "HEAD", "PUT"})
_PROBE_S: Final = 2.0


class Wire:
    """One service, as its address."""

    def __init__(
        self,
        url: str,
        *,
        transport: httpx2.BaseTransport | None = None,
        timeout_s: float = 30.0,
        pauses_s: Sequence[float] = _PAUSES_S,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url.rstrip("/")
        self.sleep = sleep
        self.monotonic = monotonic
        self._timeout_s = timeout_s
        self._pauses_s = tuple(pauses_s)
        # Loading certificates takes longer than a call; and nobody's proxy knows this machine's loopback.
        self._http = httpx2.Client(
            base_url=self.url,
            timeout=timeout_s,
            transport=transport,
            verify=self.url.startswith("https:"),
            trust_env=not _is_loopback(httpx2.URL(self.url).host),
        )

    def close(self) -> None:
        self._http.close()

    def send(self, method: str, path: str, *, repeatable: bool = False, **request: Any) -> httpx2.Response:
        """The answer where it is good; raises the error it stands for otherwise."""
        response = self.ask(method, path, repeatable=repeatable, **request)
        if response.status_code >= 400:
            raise error_of(response)
        return response

    def ask(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool = False,
        params: Mapping[str, Any] | None = None,
        **request: Any,
    ) -> httpx2.Response:
        """The answer, whatever it is. Raises ServiceUnreachable."""
        given = {name: value for name, value in (params or {}).items() if value not in (None, (), [])}
        again = repeatable or method in _REPEATABLE
        for pause_s in (*self._pauses_s, None):
            try:
                return self._http.request(method, f"{PREFIX}{path}", params=given, **request)
            except httpx2.TransportError as error:
                # What was never sent may be sent again, whatever it is.
                unsent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
                if pause_s is None or not (again or unsent):
                    raise _unreachable(self.url, error, unsent) from error
                self.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    def answers(self, path: str) -> bool:
        """Whether a GET is answered with 200; asks once and never raises."""
        try:
            return self._http.get(f"{PREFIX}{path}", timeout=_PROBE_S).status_code == 200
        except httpx2.TransportError:
            return False

    @contextmanager
    def download(self, path: str, *, timeout_s: float) -> Iterator[Iterator[bytes]]:
        """The body of a GET while it comes; `timeout_s` is how long one piece of it may take.

        Raises the error that the answer stands for, and ServiceUnreachable, also while it is read.
        """
        try:
            with self._http.stream("GET", f"{PREFIX}{path}", timeout=timeout_s) as response:
                if response.status_code >= 400:
                    response.read()
                    raise error_of(response)
                yield response.iter_bytes()
        except httpx2.TransportError as error:
            raise _unreachable(self.url, error, isinstance(error, httpx2.ConnectError)) from error

    def open_stream(
        self, path: str, *, params: Mapping[str, Any] | None, after: str
    ) -> AbstractContextManager[httpx2.Response]:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        timeout = stream_timeout(self._timeout_s)
        return self._http.stream("GET", f"{PREFIX}{path}", params=params, headers=headers, timeout=timeout)


def _unreachable(url: str, error: httpx2.TransportError, unsent: bool) -> ServiceUnreachable:
    if unsent:
        return ServiceUnreachable(
            f"no service answers at {url}", hint="start one with `tumbler up`, or set TUMBLER_URL to another"
        )
    return ServiceUnreachable(
        f"the connection to {url} broke: {str(error) or type(error).__name__}",
        hint="whether it was done is not known; look with `tumbler ls`",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def encoded(spec: str | Mapping[str, Any], content_type: str | None) -> tuple[bytes, str]:
    """The body of a spec, and its content type."""
    if isinstance(spec, str):
        return spec.encode(), content_type or "application/yaml"
    return json.dumps(spec).encode(), content_type or "application/json"
