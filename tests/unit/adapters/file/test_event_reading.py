"""Which events are read at once: those that stand close together, in whatever order they are asked for, each once."""

from hypothesis import given
from hypothesis import strategies as st

from inventory_es.adapters.file.index.table import LENGTH_BITS, unpack_place
from inventory_es.adapters.file.store.event_reader import _MAX_GAP, MAX_PAGE_BYTES, _neighbours

GAPS = st.sampled_from([0, 1, 500, _MAX_GAP, _MAX_GAP + 1, 50 * _MAX_GAP])
LENGTHS = st.sampled_from([1, 400, 5_000, MAX_PAGE_BYTES // 2])


@given(st.lists(st.tuples(GAPS, LENGTHS), min_size=1, max_size=12), st.permutations(range(12)), st.sampled_from(["up", "down", "mixed"]))
def test_every_event_is_in_one_run_and_no_run_reads_much_else(sizes: list[tuple[int, int]], mixed: list[int], order: str) -> None:
    places, end = list[int](), 0
    for gap, length in sizes:
        places.append((end + gap) << LENGTH_BITS | length)
        end += gap + length
    if order == "down":
        places.reverse()
    elif order == "mixed":
        places = [places[at] for at in mixed if at < len(places)]
    runs = list(_neighbours(places))
    assert [place for run in runs for place in run] == places
    for run in runs:
        (start, first), (last, length) = unpack_place(run[0]), unpack_place(run[-1])
        wanted = sum(unpack_place(place)[1] for place in run)
        assert list(run) == sorted(run)
        assert last + length - start <= max(MAX_PAGE_BYTES, first)
        assert last + length - start - wanted <= max(wanted, _MAX_GAP * (len(run) - 1))


def test_what_stands_together_is_read_together() -> None:
    together = [at * 100 << LENGTH_BITS | 100 for at in range(50)]
    assert list(_neighbours(together)) == [together]
    far = [(at * 2 * _MAX_GAP) << LENGTH_BITS | 1 for at in range(4)]
    assert list(_neighbours(far)) == [[place] for place in far]
    near = [(at * (_MAX_GAP + 1)) << LENGTH_BITS | 1 for at in range(4)]
    assert list(_neighbours(near)) == [near]
