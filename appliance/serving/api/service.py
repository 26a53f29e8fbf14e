"""What the routes work with: the models of a process, the thread that steps them, the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.serving.api.errors import ApiError
from appliance.serving.api.metrics import Metrics
from appliance.serving.api.tasks import Limits
from appliance.serving.driver import Driver
from appliance.serving.engine import Engine


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedModel:
    """A model under its name.

    Attributes:
        created: seconds since 1970.
        fingerprint: of its weights.
    """

    name: str
    engine: Engine
    created: int
    fingerprint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """What the routes work with."""

    models: Mapping[str, ServedModel]
    driver: Driver
    metrics: Metrics
    limits: Limits = field(default_factory=Limits)

    def find(self, name: str) -> ServedModel:
        """A model by its name.

        Raises:
            ApiError: there is none.
        """
        if name not in self.models:
            raise ApiError(404, "The model does not exist.", code="model_not_found", param="model")
        return self.models[name]
