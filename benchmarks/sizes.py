"""The sizes of one run."""

from typing import TypedDict


class Sizes(TypedDict):
    """The sizes as plain data, so that any contender's process can read them.

    Keys:
        inventories: streams of W1 and W1c.
        one_caller, many_callers: commands of W1 and of W1c.
        long_stream: events of the one stream of W2.
        feed: events of W4, a hundred per product.
        hot: commands of each case of W3.
        history: open reservations of the hot product before a case of W3 begins; the sale has none.
        callers: numbers of callers of W3, one case each.
        threads: the same for the synchronous service, whose callers are threads.
        sale: units of the sold-out sale; ten times as many commands are sent.
        patience: seconds after which a case of W1, W1c or W3 ends, done or not.
        growth: events, streams and open reservations of W6.
        steady: commands at each size of W6.
        codec: calls of each candidate below the codec.
        queries: queries of each kind.
        processes: numbers of processes in the simulation; up to four are measured too.
        virtual: seconds of each simulation.
        real: seconds of each measurement with several processes.
    """

    inventories: int
    one_caller: int
    many_callers: int
    long_stream: int
    feed: int
    hot: int
    history: int
    callers: list[int]
    threads: list[int]
    sale: int
    patience: float
    growth: list[int]
    steady: int
    codec: int
    queries: int
    processes: list[int]
    virtual: float
    real: float


FULL: Sizes = {
    "inventories": 1_000,
    "one_caller": 500,
    "many_callers": 10_000,
    "long_stream": 100_000,
    "feed": 100_000,
    "hot": 15_000,
    "history": 1_000,
    "callers": [1, 8, 64, 512, 1_000],
    "threads": [1, 2, 4, 8, 16, 32, 64],
    "sale": 1_000,
    "patience": 0.8,
    "growth": [1_000, 10_000, 100_000, 1_000_000],
    "steady": 300,
    "codec": 20_000,
    "queries": 20_000,
    "processes": [1, 2, 4, 8, 16, 32, 64],
    "virtual": 0.6,
    "real": 1.2,
}

QUICK: Sizes = {
    "inventories": 200,
    "one_caller": 100,
    "many_callers": 2_000,
    "long_stream": 10_000,
    "feed": 10_000,
    "hot": 2_000,
    "history": 200,
    "callers": [1, 64, 512],
    "threads": [1, 8, 32, 64],
    "sale": 200,
    "patience": 0.4,
    "growth": [1_000, 10_000, 50_000],
    "steady": 100,
    "codec": 2_000,
    "queries": 1_000,
    "processes": [1, 2, 4, 8, 64],
    "virtual": 0.2,
    "real": 0.5,
}

TINY: Sizes = {
    "inventories": 5,
    "one_caller": 5,
    "many_callers": 20,
    "long_stream": 50,
    "feed": 200,
    "hot": 64,
    "history": 5,
    "callers": [1, 64],
    "threads": [1, 32, 64],
    "sale": 4,
    "patience": 5.0,
    "growth": [10, 30],
    "steady": 5,
    "codec": 50,
    "queries": 500,
    "processes": [2],
    "virtual": 0.02,
    "real": 0.05,
}
