"""What Prometheus reads at ``/metrics``. The hot path counts a batch at a time."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = tuple(unit * scale for scale in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0) for unit in (1, 2.5, 5))


class Metrics:
    """The figures of one server."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        ProcessCollector(registry=own)

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"gru_native_{name}", what, labels, registry=own)

        def seconds(name: str, what: str) -> Histogram:
            return Histogram(f"gru_native_{name}_seconds", what, registry=own, buckets=_SECONDS)

        self.steps = counter("steps", "Steps of live sessions")
        self.batch_steps = Histogram(
            "gru_native_batch_steps", "Steps of a batch", registry=own, buckets=[2**i for i in range(13)]
        )
        self.batch_seconds = seconds("batch", "To compute a batch")
        self.wait_seconds = seconds("wait", "That the first step of a batch waited for others")
        self.store_seconds = seconds("store", "Of a transaction of the store")
        self.requests = counter("requests", "HTTP requests", "path", "status")
        self.request_seconds = seconds("request", "Of an HTTP request")
        self.refused = counter("refused", "Requests and sessions that were refused", "reason")
        self.closed = counter("closed", "Sessions that were closed by the server", "code")
        self.reloads = counter("reloads", "Model files that were taken over")

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Show what a function returns."""
        Gauge(f"gru_native_{name}", what, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Return all figures as Prometheus reads them."""
        return generate_latest(self._registry)
