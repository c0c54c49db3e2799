"""A short share of the chaos on the buses on servers. More of it: ``python -m tests.chaos.brokers --rounds N``."""

import pytest

from tests.chaos.brokers import CAMPAIGNS, PARTED, run


@pytest.mark.parametrize("campaign", CAMPAIGNS)
@pytest.mark.parametrize("broker", ["redis", "nats"])  # RabbitMQ starts in ten seconds: the command breaks it
def test_a_group_handles_every_acknowledged_event_in_the_order_of_its_stream(broker: str, campaign: str) -> None:
    figures = run(broker, campaign, 2 if campaign == PARTED else 1)  # its rounds differ
    assert figures["missing"] == 0
    assert figures["acknowledged"] > 0
