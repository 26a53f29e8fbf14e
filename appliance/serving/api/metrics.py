"""Figures for Prometheus: counts and times by model, never text, names of people or prompts."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from appliance.serving.answer import End
from appliance.serving.scheduler import Scheduler

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_MODEL = ("model",)


class Metrics:
    """What a server has done so far."""

    def __init__(self, schedulers: Mapping[str, Scheduler]) -> None:
        """Count from zero.

        Args:
            schedulers: of every model, by its name.
        """
        self._registry = registry = CollectorRegistry()
        self._schedulers = schedulers
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._answers = Counter(
            "appliance_answers", "Answers that ended", ("model", "reason"), registry=registry
        )
        self._tokens = Counter(
            "appliance_tokens", "Tokens read, reused, written", ("model", "kind"), registry=registry
        )
        self._refusals = Counter(
            "appliance_refusals", "Requests refused", ("status",), registry=registry
        )
        self._wait = Histogram(
            "appliance_wait_seconds", "Until a row", _MODEL, registry=registry, buckets=_SECONDS
        )
        self._first = Histogram(
            "appliance_first_token_seconds",
            "From the request to the first token",
            _MODEL,
            registry=registry,
            buckets=_SECONDS,
        )
        self._whole = Histogram(
            "appliance_answer_seconds", "To the end", _MODEL, registry=registry, buckets=_SECONDS
        )
        self._running = Gauge("appliance_running", "Answers under way", _MODEL, registry=registry)
        self._waiting = Gauge("appliance_waiting", "Answers in line", _MODEL, registry=registry)

    def note_end(self, model: str, end: End) -> None:
        """Count an answer. Any thread may call."""
        self._answers.labels(model, end.reason).inc()
        self._tokens.labels(model, "read").inc(end.num_prompt - end.num_cached)
        self._tokens.labels(model, "reused").inc(end.num_cached)
        self._tokens.labels(model, "written").inc(end.num_tokens)
        self._wait.labels(model).observe(end.wait_seconds)
        self._whole.labels(model).observe(end.seconds)
        if end.first_seconds is not None:
            self._first.labels(model).observe(end.first_seconds)

    def note_refusal(self, status: int) -> None:
        """Count a request that was refused."""
        self._refusals.labels(str(status)).inc()

    def write(self) -> bytes:
        """Everything, in the text format of Prometheus."""
        for model, scheduler in self._schedulers.items():
            self._running.labels(model).set(scheduler.num_running)
            self._waiting.labels(model).set(scheduler.num_waiting)
        return generate_latest(self._registry)
