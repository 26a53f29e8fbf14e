"""Figures for Prometheus: counts and times by route, never names, text or addresses."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """What a dashboard has done so far."""

    def __init__(self) -> None:
        """Count from zero."""
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "appliance_web_requests", "Requests answered", ("route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "appliance_web_seconds",
            "Until an answer began",
            ("route",),
            registry=registry,
            buckets=_SECONDS,
        )
        self._refusals = Counter(
            "appliance_web_refusals", "Requests refused at the door", ("reason",), registry=registry
        )
        self._followers = Gauge("appliance_web_followers", "Open event streams", registry=registry)
        self._jobs = Gauge("appliance_jobs", "Jobs by state", ("state",), registry=registry)
        self._up = Gauge("appliance_service_up", "Whether the service answers", registry=registry)

    def note_answer(self, route: str, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            route: its pattern, such as `/jobs/{id}`; never the path that was asked for.
            status: of HTTP.
            seconds: until it began.
        """
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def note_refusal(self, reason: str) -> None:
        """Count a request that was refused before anything looked at it."""
        self._refusals.labels(reason).inc()

    def note_followers(self, number: int) -> None:
        """How many event streams are open."""
        self._followers.set(number)

    def write(self, jobs: Mapping[str, int] | None) -> bytes:
        """Everything, in the text format of Prometheus.

        Args:
            jobs: by state, as the service counts them; None where it does not answer.
        """
        self._up.set(jobs is not None)
        for state, number in (jobs or {}).items():
            self._jobs.labels(state).set(number)
        return generate_latest(self._registry)
