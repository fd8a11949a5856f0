"""Ray's client of its Jobs interface, with an end to every request.

Importing this imports Ray, which takes half a second: leave it to the thread that needs it.
"""

from typing import Any, Final

from ray.job_submission import JobSubmissionClient

_TIMEOUT_S: Final = (2.0, 5.0)
"""To connect; between two answers. Without a GCS the dashboard keeps a request for half a minute."""
_UPLOAD_TIMEOUT_S: Final = (2.0, 60.0)
_MANY: Final = 10_000
"""The most that Ray's state interface gives at once."""


class JobsClient(JobSubmissionClient):  # type: ignore[misc]
    """Raises what Ray raises: RuntimeError, ConnectionError, the exceptions of requests, and more."""

    def nodes(self) -> list[dict[str, Any]]:
        """All nodes there ever were: what they have in all, their labels, which lives, which is the head."""
        answer = self._do_request(
            "GET", "/api/v0/nodes", params={"detail": 1, "limit": _MANY, "timeout": int(_TIMEOUT_S[1])}
        )
        if answer.status_code != 200:
            self._raise_error(answer)
        return list(answer.json()["data"]["result"]["result"])

    def has_package(self, name: str) -> bool:
        """Ray keeps a package that was asked for ten minutes more, whether a job uses it or not."""
        return bool(self._package_exists(f"gcs://{name}"))

    def put_package(self, name: str, content: bytes) -> None:
        answer = self._do_request("PUT", f"/api/packages/gcs/{name}", data=content, timeout=_UPLOAD_TIMEOUT_S)
        if answer.status_code != 200:
            self._raise_error(answer)

    def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
        return super()._do_request(method, endpoint, **{"timeout": _TIMEOUT_S, **options})
