"""Orders files are read to the end or refused, with the place."""

import gzip
from pathlib import Path

import pytest

from inventory_es.cli.replay.order_lines import BadLine, OrderLine
from inventory_es.cli.replay.sources import OrdersError, OrdersFile

HEADER = b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate\n"
LINE = b"536365,85123A,heart,6,2010-12-01 08:26:00\n"


def source(folder: Path, content: bytes) -> OrdersFile:
    path = folder / "orders.csv"
    path.write_bytes(content)
    return OrdersFile(path)


def numbers(folder: Path, content: bytes) -> list[tuple[int, str]]:
    """Line number, and either the invoice or what is wrong."""
    return [(line.number, line.invoice if isinstance(line, OrderLine) else line.reason) for line in source(folder, content).lines()]


def test_lines_can_be_gone_through_again_and_again(tmp_path: Path) -> None:
    orders = source(tmp_path, HEADER + LINE + LINE)
    assert list(orders.lines()) == list(orders.lines())
    assert len(list(orders.lines())) == 2


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_line_ends_blank_lines_a_mark_at_the_start_and_no_end_at_all(ending: bytes, tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + (HEADER + LINE + b"\n\n" + LINE).replace(b"\n", ending).removesuffix(ending)
    assert numbers(tmp_path, content) == [(2, "536365"), (5, "536365")]


def test_a_cell_over_several_lines_counts_where_it_begins(tmp_path: Path) -> None:
    content = HEADER + b'1,mug,"a\nfine\nmug",1,2010-12-01 08:26:00\n' + b"2,mug,x,many,2010-12-01 08:26:00\n"
    found = numbers(tmp_path, content)
    assert found[0] == (2, "1")
    assert found[1][0] == 5


def test_compressed_or_not_it_is_the_same_file(tmp_path: Path) -> None:
    plain = source(tmp_path, HEADER + LINE)
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(HEADER + LINE))
    assert OrdersFile(packed).digest() == plain.digest()
    assert list(OrdersFile(packed).lines()) == list(plain.lines())


def test_every_byte_counts_for_the_digest(tmp_path: Path) -> None:
    assert source(tmp_path, HEADER + LINE).digest() != source(tmp_path, HEADER + LINE + b"\n").digest()


@pytest.mark.parametrize(
    "line, reason",
    [
        (b"1,mug,caf\xe9,1,2010-12-01 08:26:00\n", "it is not UTF-8"),
        (b'1,mug,"a"b,1,2010-12-01 08:26:00\n', "',' expected after '\"'"),
        (b"1,mug," + b"x" * 140_000 + b",1,2010-12-01 08:26:00\n", "field larger than field limit"),
        (b"1,mug\n", "it has 2 cells where the header has 5"),
    ],
)
def test_a_line_that_makes_no_sense_has_its_number_and_the_next_is_read(line: bytes, reason: str, tmp_path: Path) -> None:
    bad, good = source(tmp_path, HEADER + line + LINE).lines()
    assert isinstance(bad, BadLine)
    assert (bad.number, bad.reason[: len(reason)]) == (2, reason)
    assert isinstance(good, OrderLine)
    assert good.number == 3


def test_a_quote_that_never_ends_is_told_where_it_begins(tmp_path: Path) -> None:
    assert numbers(tmp_path, HEADER + LINE + b'2,"mug,x,1,2010-12-01 08:26:00\n' + LINE) == [(2, "536365"), (3, "unexpected end of data")]


@pytest.mark.parametrize(
    "content, problem",
    [
        (b"", "is empty"),
        (b"\n", "orders.csv:1: column InvoiceNo is missing"),
        (b"a,b,c\n", "orders.csv:1: column InvoiceNo is missing"),
        (b"\xff\xfe\n", "orders.csv:1: it is not UTF-8"),
        (b"\x00\x01\x02", "orders.csv:1: column InvoiceNo is missing"),
    ],
)
def test_what_is_no_orders_file_is_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    with pytest.raises(OrdersError, match=problem):
        list(source(tmp_path, content).lines())


@pytest.mark.parametrize("damage", ["cut off", "changed"])
def test_a_damaged_compressed_file_is_refused(damage: str, tmp_path: Path) -> None:
    packed = gzip.compress(HEADER + LINE * 1_000, mtime=0)
    orders = source(tmp_path, packed[:-12] if damage == "cut off" else packed[:40] + b"\x00" * 20 + packed[60:])
    with pytest.raises(OrdersError, match="damaged or cut off"):
        list(orders.lines())
    with pytest.raises(OrdersError, match="damaged or cut off"):
        orders.digest()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OrdersError, match=r"nowhere\.csv: No such file"):
        OrdersFile(tmp_path / "nowhere.csv").digest()
