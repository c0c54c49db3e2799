"""A sealed answer is read back as what it was, or not at all."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from inventory_es.application.projections.stock_levels import StockRow
from inventory_es.application.queries.cached_answers import AnswerForm
from inventory_es.application.queries.projection_reader import QueryPage
from inventory_es.ports import Checkpoint

T0 = datetime(2026, 1, 5, 9, tzinfo=UTC)
TTL = timedelta(seconds=30)
TEXTS = st.text(min_size=1, max_size=128)
COUNTS = st.integers(0, 2**53 - 1)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # the strategy adds the zone
ROWS = st.builds(
    StockRow,
    product_id=TEXTS,
    store_id=TEXTS,
    version=COUNTS,
    position=COUNTS,
    recorded_at=TIMES,
    on_hand=COUNTS,
    reserved=COUNTS,
    available=COUNTS,
)
PAGES = st.builds(
    QueryPage,
    st.lists(ROWS, max_size=3).map(tuple),
    st.builds(Checkpoint, position=COUNTS, recorded_at=TIMES | st.none(), owner=TEXTS | st.none(), owned_until=TIMES | st.none()),
    st.none() | st.tuples(TEXTS, COUNTS, st.none()),
)
STOCK: AnswerForm[StockRow | None] = AnswerForm(StockRow | None)
PAGE: AnswerForm[QueryPage[StockRow]] = AnswerForm(QueryPage[StockRow])


@given(row=ROWS | st.none(), page=PAGES, key=TEXTS, position=COUNTS)
def test_what_was_sealed_is_read_back(row: StockRow | None, page: QueryPage[StockRow], key: str, position: int) -> None:
    assert STOCK.unseal(key, STOCK.seal(key, row, position, T0), now=T0, ttl=TTL) == (row, position)
    assert PAGE.unseal(key, PAGE.seal(key, page, position, T0), now=T0, ttl=TTL) == (page, position)


@given(row=ROWS, junk=st.binary(max_size=200), place=st.integers(0, 10_000), bit=st.integers(0, 7), cut=st.integers(0, 10_000))
def test_whatever_else_is_a_miss(row: StockRow, junk: bytes, place: int, bit: int, cut: int) -> None:
    sealed = STOCK.seal("stock:p:s", row, 3, T0)
    flipped = bytearray(sealed)
    flipped[place % len(sealed)] ^= 1 << bit
    for key, wrong in (
        ("stock:p:s", bytes(flipped)),
        ("stock:p:s", sealed[: cut % len(sealed)]),
        ("stock:p:s", sealed + b" "),
        ("stock:p:s", junk),
        ("stock:p:t", sealed),
        ("stock:p", sealed),
        ("stock:p:s", PAGE.seal("stock:p:s", QueryPage((row,), Checkpoint(), None), 3, T0)),
    ):
        assert STOCK.unseal(key, wrong, now=T0, ttl=TTL) is None


def test_it_lives_exactly_as_long_as_it_may() -> None:
    sealed = STOCK.seal("k", None, 1, T0)
    for age, is_there in ((0, True), (29.999, True), (30, False), (31, False), (-0.001, False)):
        found = STOCK.unseal("k", sealed, now=T0 + timedelta(seconds=age), ttl=TTL)
        assert (found == (None, 1)) is is_there
