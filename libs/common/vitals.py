"""What every service's `/metrics` says of itself: is it ready, if not why, and which version runs.

In go the healths that `/readyz` shows, out come metrics of this very moment. They are computed when
somebody asks, so nothing has to keep a gauge in step with a health, and a process that holds all
services shows each of them.

A reader would question the component as a label: reasons are texts with figures in them and would
make a new series each time; components are a handful of words in the code, and a bound holds them.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

COMPONENTS_MAX = 10
"""Components shown of one service; the code knows seven in all."""


class ReportsHealth(Protocol):
    """What is asked of a service."""

    def reasons(self) -> Mapping[str, str]:
        """Return why it is not ready, by component."""

    def notes(self) -> Mapping[str, str]:
        """Return what else is worth reading."""


class Vitals(Collector):
    """Metrics of the services of one process, as of the moment they are asked for."""

    def __init__(self, services: Mapping[str, ReportsHealth]) -> None:
        self._services = services

    def collect(self) -> Iterable[Metric]:
        """Return `hawk_build_info`, `hawk_service_ready` and `hawk_service_unready_component`."""
        build = GaugeMetricFamily(
            "hawk_build_info", "1; the version is the label.", None, ["version"]
        )
        build.add_metric([version("hawk")], 1)
        ready = GaugeMetricFamily("hawk_service_ready", "1: ready, 0: not.", None, ["service"])
        unready = GaugeMetricFamily(
            "hawk_service_unready_component",
            "1: this component keeps the service from being ready; /readyz has the words.",
            None,
            ["service", "component"],
        )
        for name, health in dict(self._services).items():
            reasons = health.reasons()
            ready.add_metric([name], not reasons)
            for component in sorted(reasons)[:COMPONENTS_MAX]:
                unready.add_metric([name, component], 1)
        return build, ready, unready
