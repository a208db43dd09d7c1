"""Counts and times for Prometheus. Each server has a registry of its own; labels hold no ids, texts or names."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from varedit import __version__
from varedit.serving.state import EngineState, Outcome

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60)
_SIZES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """What a server counts; an `EngineObserver`."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "varedit_requests", "Answers by endpoint and status.", ["endpoint", "status"], registry=registry
        )
        self.rejected = Counter("varedit_rejected", "Edits refused before any work.", ["reason"], registry=registry)
        self.first_preview = Histogram(
            "varedit_time_to_first_preview_seconds",
            "From a request to its first preview.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._edits = Counter("varedit_edits", "Edits by how they ended.", ["outcome"], registry=registry)
        self._cancelled = Counter("varedit_cancelled", "Edits that nobody wanted any more.", registry=registry)
        self._batch = Histogram("varedit_batch_size", "Edits in a batch.", buckets=_SIZES, registry=registry)
        self._queue = Histogram(
            "varedit_time_in_queue_seconds", "From a request to its first work.", buckets=_SECONDS, registry=registry
        )
        self._edit = Histogram(
            "varedit_edit_seconds", "From a request to its result.", buckets=_SECONDS, registry=registry
        )
        self._scale = Histogram(
            "varedit_scale_seconds", "One scale of one batch.", ["scale"], buckets=_SECONDS, registry=registry
        )
        build = Gauge("varedit_build_info", "Always 1.", ["version"], registry=registry)
        build.labels(version=__version__).set(1)

    def batch_began(self, size: int) -> None:
        """Count a batch."""
        self._batch.observe(size)

    def scale_drawn(self, index: int, seconds: float) -> None:
        """Count a scale."""
        self._scale.labels(scale=str(index + 1)).observe(seconds)

    def edit_ended(self, outcome: Outcome, queued: float | None, seconds: float) -> None:
        """Count an end."""
        self._edits.labels(outcome=outcome).inc()
        if queued is not None:
            self._queue.observe(queued)
        if outcome == "finished":
            self._edit.observe(seconds)
        if outcome == "cancelled":
            self._cancelled.inc()

    def text(self, state: EngineState | None) -> bytes:
        """Everything, with the engine as it is now; None is a server without one."""
        now = CollectorRegistry()
        now.register(_Now(state))
        return generate_latest(self.registry) + generate_latest(now)


class _Now(Collector):
    """The engine's present state."""

    def __init__(self, state: EngineState | None) -> None:
        self._state = state

    def collect(self) -> list[Metric]:
        """As gauges."""
        state = self._state
        return [
            GaugeMetricFamily("varedit_queue_depth", "Edits that wait.", 0 if state is None else state.waiting),
            GaugeMetricFamily(
                "varedit_active_edits",
                "Edits under way, those that are being restored included.",
                0 if state is None else state.active + state.finishing,
            ),
        ]
