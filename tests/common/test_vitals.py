"""What every `/metrics` says of its services, at the moment it is asked."""

from prometheus_client import CollectorRegistry

from libs.common.context import Health
from libs.common.vitals import COMPONENTS_MAX, Vitals


def registry(**services: Health) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(Vitals(services))
    return made


def test_each_service_of_a_process_is_ready_or_not_with_its_components() -> None:
    well, ill = Health(), Health()
    well.set("start", None)
    seen = registry(features=well, trader=ill)
    assert seen.get_sample_value("hawk_service_ready", {"service": "features"}) == 1
    assert seen.get_sample_value("hawk_service_ready", {"service": "trader"}) == 0
    why = {"service": "trader", "component": "start"}
    assert seen.get_sample_value("hawk_service_unready_component", why) == 1
    ill.set("start", None)
    assert seen.get_sample_value("hawk_service_ready", {"service": "trader"}) == 1
    assert seen.get_sample_value("hawk_service_unready_component", why) is None


def test_reasons_are_no_labels_and_components_are_bounded() -> None:
    ill = Health()
    for number in range(COMPONENTS_MAX + 5):
        ill.set(f"component {number}", f"{number} of 7 figures")
    families = {family.name: family for family in registry(trader=ill).collect()}
    samples = families["hawk_service_unready_component"].samples
    assert len(samples) == COMPONENTS_MAX
    assert not [sample for sample in samples if "figures" in str(sample.labels)]


def test_the_version_is_a_label() -> None:
    families = {family.name: family for family in registry().collect()}
    assert families["hawk_build_info"].samples[0].labels["version"]
