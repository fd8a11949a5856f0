"""What the typed client asks about goodput."""

from urllib.parse import quote

from api.client_wire import Wire
from orchestrator.domain.goodput import ClusterGoodput, RunGoodput


class GoodputCalls:
    """Part of `api.client.Client`."""

    _wire: Wire

    def goodput(self, reference: str) -> RunGoodput:
        """Where the granted worker-seconds of a run went."""
        path = f"/runs/{quote(reference, safe='')}/goodput"
        return RunGoodput.model_validate_json(self._wire.send("GET", path).content)

    def cluster_goodput(self) -> ClusterGoodput:
        """The same of all runs on record, by queue and together."""
        return ClusterGoodput.model_validate_json(self._wire.send("GET", "/cluster/goodput").content)
