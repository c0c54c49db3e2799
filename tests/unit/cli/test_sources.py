"""Orders files are read to the end or refused, with the place."""

import gzip
from pathlib import Path
from random import Random

import pytest

from inventory_es.cli.replay.order_lines import BadLine, OrderLine, Reading
from inventory_es.cli.replay.orders_file import OrdersError, OrdersFile

OPEN = "a quotation mark opens a cell here and is not closed in this line"
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
        (b'1,mug,"a"b,1,2010-12-01 08:26:00\n', "a quotation mark ends a cell before its end"),
        (b"1,mug," + b"x" * 140_000 + b",1,2010-12-01 08:26:00\n", "a cell is longer than 131,072 characters"),
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
    content = HEADER + LINE + b'2,"mug,x,1,2010-12-01 08:26:00\n' + LINE
    assert numbers(tmp_path, content) == [(2, "536365"), (3, OPEN), (4, "536365")]
    assert numbers(tmp_path, HEADER + LINE + b'2,"mug,x,1,2010-12-01 08:26:00') == [(2, "536365"), (3, OPEN)]


@pytest.mark.parametrize(
    "content, problem",
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"a,b,c\n", "orders.csv:1: column InvoiceNo is missing"),
        (b"\xff\xfd\n", "orders.csv:1: it is not UTF-8"),
        (b"\xff\xfe\n", "orders.csv:1: it is not UTF-16"),
        (b"\x00\x01\x02", "orders.csv:1: it has a NUL character"),
        (b"PK\x03\x04\x14\x00", "orders.csv is a spreadsheet or an archive: save it as CSV"),
        (b'\nInvoiceNo,"StockCode,Description\n' + LINE * 30, "orders.csv:2: a quotation mark opens"),
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


ROWS = [f"{number},mug,x,{number},2010-12-01 08:26:00".encode() for number in range(1, 21)]


def understood(folder: Path, content: bytes) -> list[str]:
    return [line.invoice for line in source(folder, content).lines() if isinstance(line, OrderLine)]


@pytest.mark.parametrize("place", ["product", "description", "date", "at the end"])
@pytest.mark.parametrize("row", [0, 4, 19])
def test_a_stray_quotation_mark_costs_its_own_line_alone(place: str, row: int, tmp_path: Path) -> None:
    bad = {
        "product": b'0,"mug,x,1,2010-12-01 08:26:00',
        "description": b'0,mug,"x,1,2010-12-01 08:26:00',
        "date": b'0,mug,x,1,"2010-12-01 08:26:00',
        "at the end": b'0,mug,x,1,2010-12-01 08:26:00,"',
    }[place]
    rows = [*ROWS[:row], bad, *ROWS[row:]]
    assert understood(tmp_path, HEADER + b"\n".join(rows)) == [str(number) for number in range(1, 21)]
    assert [line for line in numbers(tmp_path, HEADER + b"\n".join(rows)) if line[0] == row + 2] == [(row + 2, OPEN)]


@pytest.mark.parametrize(
    "closing",
    [
        b'9,jug,x",3,2010-12-01 09:00:00',
        b'9,jug,"big" jug,3,2010-12-01 09:00:00',
        b'9,jug,y",many,2010-12-01 09:00:00',
        b',jug,x",3,',
        b'9,jug,",3,2010-12-01 09:00:00',
        b'9,jug, " ,3,2010-12-01 09:00:00',
    ],
)
@pytest.mark.parametrize("between", [4, 0])
def test_two_stray_quotation_marks_do_not_swallow_what_stands_between_them(between: int, closing: bytes, tmp_path: Path) -> None:
    rows = [*ROWS[:5], b'0,mug,"x,1,2010-12-01 08:26:00', *ROWS[5 : 5 + between], closing, *ROWS[5 + between :]]
    found = [invoice for invoice in understood(tmp_path, HEADER + b"\n".join(rows)) if invoice != "9" or closing[:1] != b"9"]
    assert found == [str(number) for number in range(1, 21) if number != 9 or closing[:1] != b"9"]


def test_a_cell_over_several_lines_in_a_row_that_makes_no_sense_has_each_of_its_lines_named(tmp_path: Path) -> None:
    content = HEADER + b'1,mug,"a\nfine\nmug",many,2010-12-01 08:26:00\n' + LINE
    found = numbers(tmp_path, content)
    assert [number for number, _ in found] == [2, 3, 4, 5]
    assert found[0][1].startswith("Quantity must be")
    assert [reason for _, reason in found[1:]] == ["it belongs to line 2", "it belongs to line 2", "536365"]


def test_a_cell_over_several_lines_may_have_as_many_commas_as_a_row(tmp_path: Path) -> None:
    content = HEADER + b'1,mug,"a\nred, green, blue, grey, white\n\nmug",1,2010-12-01 08:26:00\n' + LINE
    assert numbers(tmp_path, content) == [(2, "1"), (6, "536365")]


PIECES = [
    b"1,mug,x,1,2010-12-01 08:26:00",
    b'2,mug,"x,1,2010-12-01 08:26:00',
    b'3,"mug,x,1,2010-12-01 08:26:00',
    b'4,mug,x",1,2010-12-01 08:26:00',
    b'5,mug,"a ""fine"" mug",1,2010-12-01 08:26:00',
    b'6,mug,"a\nmug",1,2010-12-01 08:26:00',
    b'7,mug,"a"b,1,2010-12-01 08:26:00',
    b"8,mug,caf\xe9,1,2010-12-01 08:26:00",
    b"9,mug,x\x00,1,2010-12-01 08:26:00",
    b"10,mug",
    b"11,mug,x,many,2010-12-01 08:26:00",
    b'"',
    b'""',
    b"",
    b" ",
    b",,,,",
    b'12,mug,x,1,2010-12-01 08:26:00,,"',
]


@pytest.mark.parametrize("seed", range(60))
def test_every_line_is_in_a_record_or_is_named_or_is_blank(seed: int, tmp_path: Path) -> None:
    chance = Random(seed)
    pieces = [chance.choice(PIECES) for _ in range(40)]
    ending = chance.choice((b"\n", b"\r\n", b"\r"))
    content = (HEADER + b"\n".join(pieces)).replace(b"\n", ending)
    physical = content.split(ending)
    accounted = {1} | {number for number, line in enumerate(physical, 1) if not line.strip(b' ,"')}
    for line in source(tmp_path, content).lines():
        assert line.number not in accounted or not physical[line.number - 1].strip(b' ,"')
        accounted.add(line.number)
        if isinstance(line, OrderLine) and "\n" in line.description.replace("\r", "\n"):
            accounted.add(line.number + 1)
            assert line.invoice == "6"
    assert accounted == set(range(1, len(physical) + 1))
    good = [line.invoice for line in source(tmp_path, content).lines() if isinstance(line, OrderLine)]
    certain = [piece.split(b",")[0].decode() for piece in pieces if piece[:2] in {b"1,", b"5,"}]
    assert [invoice for invoice in good if invoice in {"1", "5"}] == certain


@pytest.mark.parametrize(
    "line, reason",
    [
        (b"1,mug,x\x00,1,2010-12-01 08:26:00", "it has a NUL character"),
        (b"1,mug,caf\xe9,1,2010-12-01 08:26:00", "it is not UTF-8: save the file as UTF-8, or say what it is, such as --encoding cp1252"),
        (b"1,mug," + b"x" * 10_000_000 + b",1,2010-12-01 08:26:00", "it is longer than 1,048,576 characters"),
        (b"1,mug,x,1,2010-12-01 08:26:00,more", "it has 6 cells where the header has 5"),
        (b"1,mug,x,1", "it has 4 cells where the header has 5"),
    ],
    ids=["NUL", "Latin-1", "long", "more cells", "fewer cells"],
)
def test_a_line_that_can_not_be_text_or_a_row_costs_itself_alone(line: bytes, reason: str, tmp_path: Path) -> None:
    (bad,) = [one for one in source(tmp_path, HEADER + b"\n".join([*ROWS[:3], line, *ROWS[3:]])).lines() if isinstance(one, BadLine)]
    assert bad.number == 5
    assert bad.reason.startswith(reason)
    assert len(understood(tmp_path, HEADER + b"\n".join([*ROWS[:3], line, *ROWS[3:]]))) == 20


def test_line_ends_may_be_of_all_kinds_in_one_file(tmp_path: Path) -> None:
    content = HEADER.strip() + b"\r\n" + ROWS[0] + b"\r" + ROWS[1] + b"\n" + ROWS[2] + b"\r\r\n" + ROWS[3]
    assert [number for number, _ in numbers(tmp_path, content)] == [2, 3, 4, 6]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_mark_at_the_start_tells_the_encoding(encoding: str, tmp_path: Path) -> None:
    text = (HEADER + LINE).decode().replace("heart", "café ☕")
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    (line,) = source(tmp_path, mark + text.encode(encoding)).lines()
    assert isinstance(line, OrderLine)
    assert (line.invoice, line.description) == ("536365", "café ☕")


def test_an_encoding_without_a_mark_is_told(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes((HEADER + LINE).decode().replace("heart", "café").encode("cp1252"))
    (line,) = OrdersFile(path, Reading(encoding="cp1252")).lines()
    assert isinstance(line, OrderLine)
    assert line.description == "café"
    (bad,) = OrdersFile(path).lines()
    assert isinstance(bad, BadLine)


def test_settings_are_a_part_of_the_digest(tmp_path: Path) -> None:
    orders = source(tmp_path, HEADER + LINE)
    path = tmp_path / "orders.csv"
    assert OrdersFile(path, Reading()).digest() == orders.digest()
    others = [Reading(store_id="berlin"), Reading(dates="day-first"), Reading(columns={"StockCode": "Item"}), Reading(encoding="cp1252")]
    assert len({orders.digest(), *(OrdersFile(path, reading).digest() for reading in others)}) == 5


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
def test_the_header_tells_what_stands_between_cells(delimiter: str, tmp_path: Path) -> None:
    content = (HEADER + LINE).replace(b",", delimiter.encode())
    assert numbers(tmp_path, content) == [(2, "536365")]
    assert numbers(tmp_path, f"sep={delimiter}\r\n".encode() + content) == [(3, "536365")]


def test_the_name_of_a_column_may_have_a_line_break(tmp_path: Path) -> None:
    content = HEADER.replace(b"Description", b'"Unit\nPrice",Description') + b"1,mug,2.5,x,1,2010-12-01 08:26:00\n"
    assert numbers(tmp_path, content) == [(3, "1")]


def test_rows_of_blank_cells_are_blank_and_empty_cells_behind_a_row_are_none(tmp_path: Path) -> None:
    content = HEADER + b",,,,\n , , , , \n   \n" + LINE.strip() + b",,\n,,\n"
    assert numbers(tmp_path, content) == [(5, "536365")]


def test_blanks_around_cells_and_marks_around_them_go(tmp_path: Path) -> None:
    content = b"InvoiceNo, StockCode, Description, Quantity, InvoiceDate\n" + b'1 , "mug" , "big, red" , 2 , 2010-12-01 08:26:00 \n'
    content = content.replace(b'" ,', b'",')
    (line,) = source(tmp_path, content).lines()
    assert isinstance(line, OrderLine)
    assert (line.invoice, line.inventory_id.product_id, line.description, line.quantity) == ("1", "mug", "big, red", 2)


def test_a_header_of_another_delimiter_is_told_by_what_lacks_in_it(tmp_path: Path) -> None:
    with pytest.raises(OrdersError, match=r"orders\.csv:1: column InvoiceDate is missing"):
        list(source(tmp_path, b"InvoiceNo;StockCode;Quantity;When\n").lines())
