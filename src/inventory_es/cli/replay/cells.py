"""Cells of an orders file as numbers and times: every form that can mean one thing alone, and a reason for all others."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal

from inventory_es.domain.quantity import MAX_QUANTITY

DateOrder = Literal["day-first", "month-first"]
"""Which of the two numbers in front of a year is the day."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,16}")
_DECIMALS = re.compile(r"([+-]?[0-9]{1,16})[.,]([0-9]+)")
_GROUPED = re.compile(r"([+-]?[0-9]{1,3}(?:([,.' \u00a0\u2019\u202f])[0-9]{3})(?:\2[0-9]{3})*)(?:([.,])0+)?")
_MONTHS = 12
_NOON = 12
_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?\s*(?P<half>[AaPp][Mm])?"
_ZONE = r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2})?"
_YEAR_FIRST = re.compile(
    rf"(?P<year>\d{{4}})(?P<mark>[-/.])(?P<month>\d{{1,2}})(?P=mark)(?P<day>\d{{1,2}})(?:,?\s+|T){_TIME}{_ZONE}", re.ASCII
)
_YEAR_LAST = re.compile(rf"(?P<one>\d{{1,2}})(?P<mark>[-/.])(?P<two>\d{{1,2}})(?P=mark)(?P<year>\d+)(?:,?\s+|T){_TIME}{_ZONE}", re.ASCII)
_DATE_ALONE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}", re.ASCII)
_LONG_ENOUGH = len("2010-12-01 08:26:00")
_YEAR_DIGITS = 4


class NotUnderstoodError(ValueError):
    """A line can't be an order line; the text says why."""


def units(text: str) -> int:
    """Return the whole number that ``text`` is.

    Raises:
        NotUnderstoodError: it is none, or may be two.
    """
    if _WHOLE.fullmatch(text) is None:
        return _unusual(text.strip().replace("\u2212", "-"))
    return _checked(int(text))


def _unusual(text: str) -> int:
    if _WHOLE.fullmatch(text) is not None:
        return _checked(int(text))
    grouped = _GROUPED.fullmatch(text)
    if grouped is not None:
        whole, mark, point = grouped.groups()
        if mark in ",." and point is None and whole.count(mark) == 1:
            msg = "Quantity may be thousands or have decimals: write 1000 or 1, and no mark between its digits"
            raise NotUnderstoodError(msg)
        if mark != point:
            return _checked(int(whole.replace(mark, "")))
    decimals = _DECIMALS.fullmatch(text)
    if decimals is not None:
        if set(decimals[2]) == {"0"}:
            return _checked(int(decimals[1]))
        msg = "Quantity must be a whole number, and has a fraction"
        raise NotUnderstoodError(msg)
    raise _no_quantity()


def _checked(number: int) -> int:
    if abs(number) > MAX_QUANTITY:
        raise _no_quantity()
    return number


def _no_quantity() -> NotUnderstoodError:
    return NotUnderstoodError(f"Quantity must be a whole number of at most {MAX_QUANTITY}, such as 6 or -1")


def instant(text: str, order: DateOrder | None) -> datetime:
    """Return the time that ``text`` is, in UTC where it names no other zone.

    Args:
        text: of the cell.
        order: of day and month where the year comes last; ``None``: not known.

    Raises:
        NotUnderstoodError: it is none, or may be two.
    """
    text = text.strip()
    at = _iso(text)
    if at is not None:
        return at
    found = _YEAR_FIRST.fullmatch(text)
    if found is not None:
        return _made(found, int(found["month"]), int(found["day"]))
    found = _YEAR_LAST.fullmatch(text)
    if found is not None:
        return _year_last(found, order)
    if _DATE_ALONE.fullmatch(text):
        msg = "InvoiceDate has no time of day: it must look like 2010-12-01 08:26:00"
        raise NotUnderstoodError(msg)
    raise _no_time()


def _iso(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text) if len(text) >= _LONG_ENOUGH else None
    except ValueError:
        return None
    return None if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)


def _year_last(found: re.Match[str], order: DateOrder | None) -> datetime:
    one, two = int(found["one"]), int(found["two"])
    if len(found["year"]) != _YEAR_DIGITS:
        msg = "InvoiceDate needs a year of four digits"
        raise NotUnderstoodError(msg)
    if order is None and one != two and max(one, two) <= _MONTHS:
        msg = "InvoiceDate may have its day or its month first: say which, by --dates day-first or --dates month-first"
        raise NotUnderstoodError(msg)
    is_day_first = one > _MONTHS if order is None else order == "day-first"
    return _made(found, *((two, one) if is_day_first else (one, two)))


def _made(found: re.Match[str], month: int, day: int) -> datetime:
    hour, half = int(found["hour"]), found["half"]
    if half is not None:
        if not 1 <= hour <= _NOON:
            raise _no_time()
        hour = hour % _NOON + (_NOON if half in {"PM", "pm", "Pm", "pM"} else 0)
    fraction = int((found["fraction"] or "").ljust(6, "0")[:6])
    try:
        at = datetime(int(found["year"]), month, day, hour, int(found["minute"]), int(found["second"] or 0), fraction, _zone(found["zone"]))
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _no_time() from None


def _zone(text: str | None) -> timezone:
    if text is None or text in {"Z", "UTC", "GMT"}:
        return UTC
    away = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(away if text.startswith("+") else -away)


def _no_time() -> NotUnderstoodError:
    return NotUnderstoodError("InvoiceDate must look like 2010-12-01 08:26:00")
