"""Read models with one mistake each."""

from collections.abc import Mapping, Sequence

import attrs
from anyio.lowlevel import checkpoint as let_others_run

from inventory_es.ports import Add, Change, Checkpoint, Patch, ProjectionId, Put, Row, Table
from inventory_es.ports.errors import ProjectionNotFoundError
from inventory_es.ports.read_model import Value
from inventory_es.ports.toolkit.row_rules import check_before, check_commit
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_read_model import Built, Key, PlainReadModel


@breaks("CK-1", "Lets a checkpoint go back.")
class GoesBack(PlainReadModel):
    def check(self, known: Built, changes: Sequence[Change], before: Checkpoint, after: Checkpoint) -> None:
        check_commit(known.tables, changes, Checkpoint(), Checkpoint())


@breaks("CK-1", "Looks at the position alone: a dead owner's epoch comes back.")
class ForgetsTheEpoch(PlainReadModel):
    def check(self, known: Built, changes: Sequence[Change], before: Checkpoint, after: Checkpoint) -> None:
        check_commit(known.tables, changes, before, attrs.evolve(after, epoch=before.epoch))


@breaks("CK-2", "Changes the rows in place: what came before a refusal stays.")
class ChangesInPlace(PlainReadModel):
    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        for change in changes:
            self.change(known.tables[change.table], known.rows[change.table], change)
        known.checkpoint = after


@breaks("CK-2", "Writes the rows, lets others run, and then moves the checkpoint.")
class TwoSteps(PlainReadModel):
    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        await super().write(known, changes, known.checkpoint)
        await let_others_run()
        known.checkpoint = after


@breaks("CK-2", "Reads the rows, lets others run, and then reads the checkpoint.")
class TwoSnapshots(PlainReadModel):
    async def checkpoint_of_page(self, known: Built) -> Checkpoint:
        await let_others_run()
        return known.checkpoint


@breaks("CK-3", "Takes a commit from any checkpoint.")
class ComparesNothing(PlainReadModel):
    def check_before(self, projection: ProjectionId, before: Checkpoint, actual: Checkpoint) -> None:
        """Accept any checkpoint."""


@breaks("CK-3", "Compares positions, and lets a runner go on that was fenced out.")
class ComparesPositions(PlainReadModel):
    def check_before(self, projection: ProjectionId, before: Checkpoint, actual: Checkpoint) -> None:
        check_before(projection, before, attrs.evolve(before, position=actual.position))


@breaks("CK-3", "Compares, lets others run, and then writes.")
class ComparesThenCommits(PlainReadModel):
    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        await let_others_run()
        await super().write(known, changes, after)


@breaks("CK-4", "Works on after it was closed.")
class ReadModelWorksAfterClose(PlainReadModel):
    async def aclose(self) -> None:
        """Do nothing."""


@breaks("CK-4", "Loses its rows when it is closed, although it declares that they survive.")
class ReadModelForgetsOnClose(PlainReadModel):
    async def aclose(self) -> None:
        await super().aclose()
        self.disk.built.clear()
        self.disk.active.clear()


@breaks("CK-4", "Keeps the position, and forgets whose the projection is.")
class ForgetsTheOwner(PlainReadModel):
    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        await super().write(known, changes, attrs.evolve(after, owner=None, owned_until=None))


@breaks("CK-5", "Keeps the columns of a checkpoint that it knows, and not the mark.")
class ForgetsTheMark(PlainReadModel):
    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        await super().write(known, changes, attrs.evolve(after, mark=None))


@breaks("RM-1", "Takes a commit again that it has already: 'it is the same one'.")
class TakesItAgain(PlainReadModel):
    def check_before(self, projection: ProjectionId, before: Checkpoint, actual: Checkpoint) -> None:
        check_before(projection, before, before if actual.position == before.position + 1 else actual)


@breaks("RM-1", "Folds equal changes of one commit into one.")
class FoldsEqualChanges(PlainReadModel):
    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        different = [change for number, change in enumerate(changes) if change not in changes[:number]]
        await super().write(known, different, after)


@breaks("RM-2", "Puts over the columns of the old row that the new one leaves empty.")
class KeepsOldColumns(PlainReadModel):
    def change(self, table: Table, rows: dict[Key, dict[str, Value]], change: Change) -> None:
        old = rows.get(self.key_of(table, change.row)) if isinstance(change, Put) else None
        if isinstance(change, Put) and old is not None:
            old.update({name: value for name, value in change.row.items() if value is not None})
        else:
            super().change(table, rows, change)


@breaks("RM-2", "Makes a row where a patch finds none.")
class PatchMakesRows(PlainReadModel):
    def patch(self, table: Table, rows: dict[Key, dict[str, Value]], change: Patch) -> None:
        self.add(table, rows, Add(change.table, change.key, {}, change.row))


@breaks("RM-2", "Adds nothing where there is no row.")
class AddMakesNoRows(PlainReadModel):
    def add(self, table: Table, rows: dict[Key, dict[str, Value]], change: Add) -> None:
        if change.key in rows:
            super().add(table, rows, change)


@breaks("RM-2", "Adds to nothing where a number is not there yet.")
class AddsToNothing(PlainReadModel):
    def add(self, table: Table, rows: dict[Key, dict[str, Value]], change: Add) -> None:
        there = rows.get(change.key, {})
        amounts = {name: amount for name, amount in change.amounts.items() if not there or there[name] is not None}
        super().add(table, rows, Add(change.table, change.key, amounts, change.row))


@breaks("RM-2", "Makes all puts of a commit before its other changes.")
class PutsFirst(PlainReadModel):
    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        await super().write(known, sorted(changes, key=lambda change: not isinstance(change, Put)), after)


@breaks("RM-3", "Lets readers change over to a version that is behind.")
class ChangesOverTooEarly(PlainReadModel):
    def may_take_over(self, new: Built, old: Built) -> bool:
        return True


@breaks("RM-12", "Keeps readers at a version that is further, although it stands at an error.")
class KeepsReadersAtAnError(PlainReadModel):
    def may_take_over(self, new: Built, old: Built) -> bool:
        return new.checkpoint.position >= old.checkpoint.position


@breaks("RM-3", "Makes the highest version active, finished or not.")
class HighestIsActive(PlainReadModel):
    async def prepare(self, projection: ProjectionId, tables: Sequence[Table], /) -> None:
        await super().prepare(projection, tables)
        self.disk.active[projection.name] = max(one for one in self.disk.built if one.name == projection.name)


@breaks("RM-3", "Tells the reader of a version that this one is active, whatever it is.")
class TellsNobody(PlainReadModel):
    def active_of_page(self, projection: ProjectionId) -> ProjectionId:
        return projection


@breaks("RM-3", "Drops the version that readers ask.")
class DropsTheActive(PlainReadModel):
    def check_drop(self, projection: ProjectionId, others: int) -> None:
        """Accept any version."""


@breaks("RM-3", "Drops the rows of a version and keeps its checkpoint: it is never built anew.")
class KeepsTheCheckpoint(PlainReadModel):
    def take_away(self, projection: ProjectionId) -> None:
        self.disk.built[projection].rows = {name: {} for name in self.disk.built[projection].tables}


@breaks("RM-4", "Takes a question for nothing as one for anything.")
class NothingMatchesAll(PlainReadModel):
    def fits(self, row: Row, where: Row) -> bool:
        return super().fits(row, {name: value for name, value in where.items() if value is not None})


@breaks("RM-4", "Orders texts without regard to case.")
class OrdersByFoldedCase(PlainReadModel):
    def place(self, row: Row, columns: Sequence[str]) -> Key:
        return tuple((row[n] is not None, str(row[n]).lower() if isinstance(row[n], str) else row[n]) for n in columns)


@breaks("RM-4", "Orders numbers as texts.")
class OrdersNumbersAsTexts(PlainReadModel):
    def place(self, row: Row, columns: Sequence[str]) -> Key:
        return tuple((row[name] is not None, str(row[name])) for name in columns)


@breaks("RM-4", "Orders by the columns asked for, and rows that are equal in them as it likes.")
class HalfAnOrder(PlainReadModel):
    def order_of(self, table: Table, order: Sequence[str]) -> Sequence[str]:
        return order or table.key


@breaks("RM-5", "Gives the last row of a page again on the next one.")
class RepeatsARow(PlainReadModel):
    def is_behind(self, place: Key, last: Key, *, descending: bool) -> bool:
        return place <= last if descending else place >= last


@breaks("RM-5", "Goes on upwards where it was asked to go down.")
class OneDirection(PlainReadModel):
    def is_behind(self, place: Key, last: Key, *, descending: bool) -> bool:
        return place > last


@breaks("RM-5", "A full page is never the end.")
class FullPageIsNoEnd(PlainReadModel):
    def is_end(self, count: int, limit: int) -> bool:
        return count < limit


@breaks("RM-6", "Keeps numbers as fractions.")
class KeepsFractions(PlainReadModel):
    def change(self, table: Table, rows: dict[Key, dict[str, Value]], change: Change) -> None:
        if isinstance(change, Put):
            change = Put(change.table, {name: int(float(v)) if isinstance(v, int) else v for name, v in change.row.items()})
        super().change(table, rows, change)


@breaks("RM-6", "Keeps texts without the spaces around them.")
class StripsTexts(PlainReadModel):
    def change(self, table: Table, rows: dict[Key, dict[str, Value]], change: Change) -> None:
        if isinstance(change, Put):
            change = Put(change.table, {name: v.strip() if isinstance(v, str) else v for name, v in change.row.items()})
        super().change(table, rows, change)


@breaks("RM-7", "Begins anew when it is prepared again.")
class PreparesAnew(PlainReadModel):
    async def prepare(self, projection: ProjectionId, tables: Sequence[Table], /) -> None:
        self.disk.built.pop(projection, None)
        await super().prepare(projection, tables)


@breaks("RM-7", "Compares the names of tables and not their columns.")
class ComparesNames(PlainReadModel):
    def is_shape(self, there: Mapping[str, Table], asked: Mapping[str, Table]) -> bool:
        return there.keys() == asked.keys()


@breaks("RM-7", "Makes a version where it is asked for one that is not there.")
class MakesWhatIsMissing(PlainReadModel):
    def known(self, projection: ProjectionId) -> Built:
        try:
            return super().known(projection)
        except ProjectionNotFoundError:
            self.disk.active.setdefault(projection.name, projection)
            return self.disk.built.setdefault(projection, Built({}, {}))


@breaks("RM-8", "Takes what fits no column.")
class RowsTakeAnything(PlainReadModel):
    def check(self, known: Built, changes: Sequence[Change], before: Checkpoint, after: Checkpoint) -> None:
        check_commit(known.tables, [change for change in changes if change.table not in known.tables], before, after)
