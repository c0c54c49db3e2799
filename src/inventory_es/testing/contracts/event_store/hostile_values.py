"""Legal values of every field of an event and of a stream id that backends are known to change."""

import random
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import MAX_SCHEMA_VERSION

PAYLOADS = (
    '{"line separators":"one\u2028two\u2029three\u0085four"}',
    r'{"nul":"\u0000","controls":"\u0001\u001f\t\r\n"}',
    '{"astral":"𝄞🜁","escaped":"\\ud834\\udd1e","combining":"e\u0301 \u00e9","bidi":"\u202eabc"}',
    '{"empty":"","list":[],"object":{},"null":null,"true":true}',
    '{"most":9007199254740992,"least":-9007199254740992,"odd":9007199254740991,"zero":-0}',
    '{"float":1e400,"tenth":0.10,"long":0.1234567890123456789012345678901234567890}',
    '{"at":"2026-03-29T02:30:00.123456+01:00","utc":"2026-01-05T09:00:00Z"}',
    '{ "spaces" : [ 1 , 2 ] ,\t"order":1,"a":2}',
    '{"quotes":"\\"\\\\\\/\'`<!--]]>","percent":"%00%2f","sql":"\'; DROP TABLE events; --"}',
    '{"nested":' + '{"a":' * 30 + "1" + "}" * 31,
    "{}",
)

HOSTILE_PARTS = (
    "a", "A", "ä", "a\u0308", "\u00c4", "ａ", "-", "--", "%", "%2d", "%2D", "%252d", ".", "..", "...", "/", "\\", "../x", "..\\x",
    "a/b", "a", "con", "CON", "nul.txt", "com1", "*", "?", "<>:|", "a ", " a", "a.", "~", "$HOME", "a'b", 'a"b', ";", "\u202e", "\u200b",
    "\x01", "\x7f", "\n", "\u2028", "🜁", "0f8fad5b-d9cb-469f-a165-70867728950e", "0F8FAD5B-D9CB-469F-A165-70867728950E", "x" * 128,
    "x" * 127 + "y", "é" * 128, "🜁" * 128, "-" * 128, "null", "None", "0", "-1", ".lock", "journal", "index.idx", "a.jsonl",
)  # fmt: skip

OBJECTS = tuple(
    text.encode()
    for text in (
        *PAYLOADS,
        '{"b":1,"a":2,"B":3,"10":4,"9":5}',
        '{"a":1.0,"b":1,"c":1e2,"d":100,"e":-0.0,"f":0.1e1}',
        '{"a":1,"a":2}',
        '{"18446744073709551617":18446744073709551617,"odd":9007199254740993,"least":-9223372036854775809}',
        '{"é":"\\u00e9","\u00e9\u0301":"é","/":"\\/","ﬁ":"ﬀ","İ":"ı"}',
        '{"":"","a":" a ","tab":"\\t","trailing":"blank "}',
        '{"true":true,"1":1,"t":"true","n":null,"nan":"NaN","date":"2026-01-05T09:00:00+00:00","bytes":"AAEC","oid":"5f1b0f1b0f1b0f1b0f1b0f1b"}',
        '{"$set":{"a":1},"$date":0,"$oid":"0","a.b":1,"__type__":"x","@class":"java.lang.Object"}',
        "{ }",
    )
)
"""Payloads and metadata, each one JSON object. Most of them change their bytes when the JSON is printed again."""

EVENT_TYPES = (
    "ContractCheckedEvent", "contractcheckedevent", "CONTRACTCHECKEDEVENT", "ContractCheckedEvent ", " ContractCheckedEvent",
    "ContractCheckedEvenT", "a", "A", "0", "null", "None", "true", "a.b", "a/b", "a\\b", "a:b", "a%b", "a_b", "a*b", "$a", "'a'", '"a"',
    "<a>&amp;", "{a}", "x" * 128, "x" * 127 + "X", "x" * 127 + "y", "x" * 127, "X" * 128, "ab" * 64, "aB" * 64,
)  # fmt: skip
"""1 to 128 printable ASCII characters; some differ by case, by a blank, or in the last of 128 characters alone."""

SCHEMA_VERSIONS = (1, 1, 2, 2, 3, 9, 10, 11, 127, 128, 255, 256, 257, 32_767, 32_768, 65_535, 65_536, 65_537, MAX_SCHEMA_VERSION)

INSTANTS = (
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1582, 10, 10, 12, 0, 0, 1, tzinfo=UTC),
    datetime(1900, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2000, 2, 29, 0, 0, 0, 1, tzinfo=UTC),
    datetime(2026, 1, 5, 9, 0, 0, 123_000, tzinfo=UTC),
    datetime(2026, 1, 5, 9, 0, 0, 123_456, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, 0, 500_001, tzinfo=UTC),
    datetime(2026, 10, 25, 1, 30, 0, 7, tzinfo=UTC, fold=1),
    datetime(2026, 1, 5, 9, 0, 0, 10, tzinfo=timezone(timedelta(0), "GMT")),
    datetime(2026, 1, 5, 9, 0, 0, 100, tzinfo=ZoneInfo("UTC")),
    datetime(2038, 1, 19, 3, 14, 8, 1, tzinfo=UTC),
    datetime(2106, 2, 7, 6, 28, 16, 999_999, tzinfo=UTC),
    datetime(2262, 4, 11, 23, 47, 16, 854_776, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
)
"""Times in UTC to the microsecond, over all years that a datetime has."""

STREAMS = tuple(
    dict.fromkeys((
        *(StreamId("contract", part) for part in HOSTILE_PARTS),
        *(StreamId("contract", part) for part in ("\ud7ff", "\ue000", "\uffee", "\uffff", "\U0010ffff", "\U0010ffffz", "\U0001f600")),
        StreamId("contract", "a-b", "c"),
        StreamId("contract", "a", "b-c"),
        StreamId("contract", "a", "b", "c"),
        StreamId("contract", "a/b", "c"),
        StreamId("contract", "a", "b/c"),
        StreamId("contract_2", "a"),
        StreamId("contractx2", "a"),
        StreamId("contract2", "a"),
        StreamId("c", "a"),
        StreamId("c" * 64, "a"),
        StreamId("c" * 63 + "d", "a"),
        StreamId("c_", "a"),
        StreamId("c0", "a"),
        StreamId("streams", "all"),
        StreamId("contract", *("x" * 128 for _ in range(16))),
        StreamId("contract", *("x" * 128 for _ in range(15)), "x" * 127 + "y"),
        StreamId("contract", *("🜁" * 128 for _ in range(16))),
        StreamId("contract", *("🜁" * 128 for _ in range(15)), "🜁" * 127 + "y"),
        StreamId("contract", *("p" for _ in range(16))),
        StreamId("contract", *("p" for _ in range(15))),
        StreamId("contract", "0f8fad5b", "d9cb", "469f", "a165", "70867728950e"),
    ))
)  # fmt: skip
"""Legal ids of different streams, which differ by case, normal form, escapes, blanks, beginnings and categories."""

_CATEGORY_LETTERS = "abcxyz0189_"
_PART_LETTERS = "aAzZ09-%._/ \\'\"~:*?\x00\x1f\x7f\x85\u00a0\u00df\u0130\u0301\u200d\u2028\ufeff\ufffd\U0001f469\U0010fffd"


def some_streams(chance: random.Random, count: int) -> list[StreamId]:
    """Return legal stream ids, all different, of letters that backends are known to change."""
    streams: dict[StreamId, None] = {}
    while len(streams) < count:
        category = "c" + "".join(chance.choices(_CATEGORY_LETTERS, k=chance.randrange(64)))
        parts = [
            "".join(chance.choices(_PART_LETTERS, k=chance.choice((1, 2, 3, 20, 128)))) for _ in range(chance.choice((1, 1, 2, 5, 16)))
        ]
        streams[StreamId(category, *parts)] = None
    return list(streams)
