"""Changes in any order give the same rows, folded to one write per row or applied one after the other."""

import sqlite3

import anyio
from hypothesis import example, given
from hypothesis import strategies as st

from inventory_es.adapters.memory import MemoryReadModel
from inventory_es.adapters.sqlite.read_model import StoredProjection
from inventory_es.ports import Add, Change, Checkpoint, Delete, Patch, ProjectionId, Put, Row, Table

ID = ProjectionId("stock", 1)
TABLES = (
    Table("levels", {"product": str, "units": int, "spare": int, "note": str}, ("product",), (("units",),)),
    Table("pairs", {"a": int, "b": str}, ("a", "b")),
)

products = st.sampled_from("ab")
numbers = st.integers(-3, 3)
texts = st.sampled_from("xy")
rows = st.fixed_dictionaries({"product": products, "units": st.none() | numbers, "spare": numbers, "note": st.none() | texts})
parts = st.fixed_dictionaries({}, optional={"units": numbers, "spare": st.none() | numbers, "note": st.none() | texts})
keys = st.tuples(products)


@st.composite
def additions(draw: st.DrawFn) -> Add:
    row = draw(parts)
    amounts = draw(st.fixed_dictionaries({}, optional={"units": numbers, "spare": numbers}))
    return Add("levels", draw(keys), {name: amount for name, amount in amounts.items() if name not in row}, row)


changes = st.lists(
    st.builds(Put, st.just("levels"), rows)
    | st.builds(Patch, st.just("levels"), keys, parts)
    | st.builds(Delete, st.just("levels"), keys)
    | additions()
    | st.builds(Put, st.just("pairs"), st.fixed_dictionaries({"b": texts, "a": numbers}))
    | st.builds(Add, st.just("pairs"), st.tuples(numbers, texts), st.just({}))
    | st.builds(Delete, st.just("pairs"), st.tuples(numbers, texts)),
    max_size=12,
)


@given(changes, changes)
@example([], [Patch("levels", ("a",), {"units": 1}), Add("levels", ("a",), {"units": 2})])
@example([Put("levels", {"product": "a", "units": 1, "spare": 2, "note": None})], [Add("levels", ("a",), {"units": 1}, {"spare": 7})])
@example([], [Add("levels", ("a",), {"units": 1}), Patch("levels", ("a",), {"units": 5}), Add("levels", ("a",), {"units": 2, "spare": 1})])
def test_rows_written_once_are_those_of_one_change_after_the_other(first: list[Change], second: list[Change]) -> None:
    async def one_by_one() -> list[list[Row]]:
        model = MemoryReadModel()
        await model.prepare(ID, TABLES)
        for change in (*first, *second):
            await model.commit(ID, [change], before=Checkpoint(), after=Checkpoint())
        return [list((await model.select(ID, table.name, limit=99)).rows) for table in TABLES]

    connection = sqlite3.connect(":memory:")
    known = StoredProjection(ID, {table.name: table for table in TABLES})
    known._create_tables(connection)
    known.change(connection, first)
    known.change(connection, second)
    folded = [known.select(connection, table, {}, (), None, descending=False, limit=99) for table in TABLES]
    connection.close()
    assert folded == anyio.run(one_by_one)
