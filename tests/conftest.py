"""What every test may ask for."""

import pytest
from hypothesis import HealthCheck, Phase, settings

BACKENDS = ("asyncio", "trio")

# Repeatable: the same examples in every run, so that a red run is red again. The health check on speed is off, since it measures the
# machine. `--hypothesis-profile=search` looks for new examples, many more of them.
settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "search", max_examples=2_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow], phases=tuple(Phase)
)
settings.load_profile("repeatable")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The event loop to hand to ``anyio.run``: each test that asks for it runs on both."""
    name: str = request.param
    return name
