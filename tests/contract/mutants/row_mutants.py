"""Read models with one mistake that SQL, DynamoDB, MongoDB and LMDB make likely."""

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
from anyio.lowlevel import checkpoint as let_others_run

from inventory_es.ports import Change, Checkpoint, ProjectionId, ProjectionVersion, Put, ReadModel, Row, RowsPage, Table
from inventory_es.ports.errors import ProjectionNotFoundError
from inventory_es.ports.read_model import Value
from inventory_es.ports.toolkit.row_rules import check_before
from inventory_es.testing import Site
from tests.contract.mutants.mutant import ReadModelMutants, breaks
from tests.contract.stores.plain_read_model import Built, Disk, Key, PlainReadModel


class ReadModelsOfOneSite(ReadModelMutants):
    """The contract of several instances over one disk."""

    multi_process = True

    @asynccontextmanager
    async def open_read_model(self, site: Site) -> AsyncIterator[ReadModel]:
        yield self.adapter(self.disks.setdefault(site, Disk()))


class KeepsCheckpoints(PlainReadModel):
    """A read model that stores a checkpoint in columns of its own."""

    def stored(self, after: Checkpoint) -> Checkpoint:
        return after

    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        await super().write(known, changes, self.stored(after))


@breaks("CK-6", "Cuts the owner at 255 characters.")
class CutsOwners(KeepsCheckpoints):
    def stored(self, after: Checkpoint) -> Checkpoint:
        return attrs.evolve(after, owner=after.owner and after.owner[:255])


@breaks("CK-6", "Cuts the error at 4,000 characters.")
class CutsErrors(KeepsCheckpoints):
    def stored(self, after: Checkpoint) -> Checkpoint:
        return attrs.evolve(after, error=after.error and after.error[:4_000])


@breaks("CK-6", "Takes an empty text for none.")
class EmptyIsNone(KeepsCheckpoints):
    def stored(self, after: Checkpoint) -> Checkpoint:
        return attrs.evolve(after, owner=after.owner or None, error=after.error or None)


@breaks("CK-6", "Keeps positions as fractions.")
class PositionsAreFractions(KeepsCheckpoints):
    def stored(self, after: Checkpoint) -> Checkpoint:
        return attrs.evolve(after, position=int(float(after.position)))


@breaks("CK-6", "Keeps the position of the mark as a fraction.")
class MarksAreFractions(KeepsCheckpoints):
    def stored(self, after: Checkpoint) -> Checkpoint:
        return after if after.mark is None else attrs.evolve(after, mark=attrs.evolve(after.mark, position=int(float(after.mark.position))))


@breaks("CK-6", "Keeps epochs in 32 bits.")
class EpochsIn32Bits(KeepsCheckpoints):
    def stored(self, after: Checkpoint) -> Checkpoint:
        return attrs.evolve(after, epoch=after.epoch % 2**32)


@breaks("CK-6", "Tells versions with the position of a checkpoint, and without its other fields.")
class VersionsTellPositions(PlainReadModel):
    async def versions(self, name: str, /) -> Sequence[ProjectionVersion]:
        found = await super().versions(name)
        return [attrs.evolve(one, checkpoint=attrs.evolve(one.checkpoint, owner=None, owned_until=None, error=None)) for one in found]


@breaks("CK-7", "Activates from any checkpoint of the same position.")
class ActivatesByPosition(PlainReadModel):
    async def activate(self, projection: ProjectionId, /, *, before: Checkpoint) -> bool:
        there = self.known(projection).checkpoint
        return await super().activate(projection, before=there if there.position == before.position else before)


@breaks("CK-7", "Compares nothing for a commit without changes.")
class EmptyCommitsPass(PlainReadModel):
    async def commit(self, projection: ProjectionId, changes: Sequence[Change], /, *, before: Checkpoint, after: Checkpoint) -> None:
        there = before if changes else self.known(projection).checkpoint
        await super().commit(projection, changes, before=there, after=after)


@breaks("CK-7", "Compares the first 255 characters of the owner.")
class ComparesShortOwners(PlainReadModel):
    def check_before(self, projection: ProjectionId, before: Checkpoint, actual: Checkpoint) -> None:
        is_same = (before.owner or "")[:255] == (actual.owner or "")[:255]
        check_before(projection, attrs.evolve(before, owner=actual.owner) if is_same else before, actual)


@breaks("CK-7", "Compares positions as fractions.")
class ComparesFractionsOfPositions(PlainReadModel):
    def check_before(self, projection: ProjectionId, before: Checkpoint, actual: Checkpoint) -> None:
        is_same = float(before.position) == float(actual.position)
        check_before(projection, attrs.evolve(before, position=actual.position) if is_same else before, actual)


@breaks("CK-7", "A commit from an epoch that is higher than the one that is there is taken.")
class TakesHigherEpochs(PlainReadModel):
    def check_before(self, projection: ProjectionId, before: Checkpoint, actual: Checkpoint) -> None:
        check_before(projection, attrs.evolve(before, epoch=min(before.epoch, actual.epoch)), actual)


@breaks("CK-8", "Compares, waits for its turn, and then writes.")
class ComparesBeforeItsTurn(PlainReadModel):
    async def commit(self, projection: ProjectionId, changes: Sequence[Change], /, *, before: Checkpoint, after: Checkpoint) -> None:
        await self.begin()
        known = self.known(projection)
        self.check(known, changes, before, after)
        self.check_before(projection, before, known.checkpoint)
        await let_others_run()
        await self.write(known, changes, after)


@breaks("CK-8", "Reads all projections, lets others run, and writes all of them back.")
class WritesAllProjectionsBack(PlainReadModel):
    async def commit(self, projection: ProjectionId, changes: Sequence[Change], /, *, before: Checkpoint, after: Checkpoint) -> None:
        there = {one: (built.rows, built.checkpoint) for one, built in self.disk.built.items() if one != projection}
        await super().commit(projection, changes, before=before, after=after)
        for one, (rows, at) in there.items():
            if one in self.disk.built:
                self.disk.built[one].rows, self.disk.built[one].checkpoint = rows, at


@breaks("CK-9", "A commit that meets the close fails with what its connection says.")
class CommitLeaksWhenClosed(PlainReadModel):
    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        await let_others_run()
        if self.is_closed:
            msg = "cannot operate on a closed database"
            raise RuntimeError(msg)
        await super().write(known, changes, after)


@breaks("CK-9", "Tells a commit that meets the close that it is done, and does not make it.")
class ClosedCommitIsLost(PlainReadModel):
    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        await let_others_run()
        if not self.is_closed:
            await super().write(known, changes, after)


@breaks("CK-9", "A close that is cancelled is taken for done.")
class CancelledCloseOfRows(PlainReadModel):
    begun = False

    async def aclose(self) -> None:
        if not self.begun:
            self.begun = True
            await let_others_run()
            self.is_closed = True


@breaks("RM-5", "Gives a thousand rows at most, and takes them for all.")
class AThousandRows(PlainReadModel):
    async def select(  # the port's
        self,
        projection: ProjectionId,
        table: str,
        /,
        *,
        where: Row | None = None,
        order: Sequence[str] = (),
        after: Sequence[Value] | None = None,
        descending: bool = False,
        limit: int,
    ) -> RowsPage:
        page = await super().select(projection, table, where=where, order=order, after=after, descending=descending, limit=limit)
        return attrs.evolve(page, rows=page.rows[:1_000])


@breaks("RM-7", "A version that was dropped keeps its tables.")
class KeepsTables(PlainReadModel):
    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.shapes: dict[ProjectionId, Mapping[str, Table]] = {}

    async def prepare(self, projection: ProjectionId, tables: Sequence[Table], /) -> None:
        kept = self.shapes.setdefault(projection, {table.name: table for table in tables})
        await super().prepare(projection, tuple(kept.values()) if projection not in self.disk.built else tables)


@breaks("RM-11", "Orders numbers as bytes: those below zero come last.")
class OrdersBytes(PlainReadModel):
    def place(self, row: Row, columns: Sequence[str]) -> Key:
        values = [row[name] for name in columns]
        return tuple((one is not None, one % 2**64 if isinstance(one, int) else one) for one in values)


@breaks("RM-11", "Orders texts by the 16 bits of their parts.")
class OrdersUtf16(PlainReadModel):
    def place(self, row: Row, columns: Sequence[str]) -> Key:
        values = [row[name] for name in columns]
        return tuple((one is not None, one.encode("utf-16-be") if isinstance(one, str) else one) for one in values)


@breaks("RM-11", "Takes an empty text for none.")
class EmptyTextsAreNone(PlainReadModel):
    def fits(self, row: Row, where: Row) -> bool:
        return all(
            (row[name] or None if isinstance(row[name], str) else row[name]) == (value if value != "" else None)
            for name, value in where.items()
        )


@breaks("RM-11", "Begins at the first row where the one to go on behind is not there.")
class LosesItsPlace(PlainReadModel):
    async def select(  # the port's
        self,
        projection: ProjectionId,
        table: str,
        /,
        *,
        where: Row | None = None,
        order: Sequence[str] = (),
        after: Sequence[Value] | None = None,
        descending: bool = False,
        limit: int,
    ) -> RowsPage:
        if after is not None:
            rows = self.known(projection).rows[table].values()
            columns = self.order_of(self.known(projection).tables[table], order)
            if tuple(after) not in {tuple(row[name] for name in columns) for row in rows}:
                after = None
        return await super().select(projection, table, where=where, order=order, after=after, descending=descending, limit=limit)


@breaks("RM-11", "Goes on behind all rows that share the first columns of the place.")
class SkipsTies(PlainReadModel):
    def is_behind(self, place: Key, last: Key, *, descending: bool) -> bool:
        return place[:-1] < last[:-1] if descending and len(place) > 1 else super().is_behind(place, last, descending=descending)


@breaks("RM-11", "Gives small numbers as truth values.")
class GivesTruthValues(PlainReadModel):
    def fits(self, row: Row, where: Row) -> bool:
        if isinstance(row, dict) and row.get("total") == 1:
            row["total"] = True
        return super().fits(row, where)


@breaks("RM-11", "Preparing a dropped version again brings its rows back.")
class RowsComeBack(PlainReadModel):
    def take_away(self, projection: ProjectionId) -> None:
        self.gone = getattr(self, "gone", {}) | {projection: self.disk.built[projection].rows}
        super().take_away(projection)

    async def prepare(self, projection: ProjectionId, tables: Sequence[Table], /) -> None:
        is_new = projection not in self.disk.built
        await super().prepare(projection, tables)
        if is_new and projection in getattr(self, "gone", {}):
            self.disk.built[projection].rows = self.gone[projection]


@breaks("RM-13", "Drops every projection whose name begins with this one's.")
class DropsByPrefix(PlainReadModel):
    def take_away(self, projection: ProjectionId) -> None:
        for one in [one for one in self.disk.built if one.name.startswith(projection.name) and one.name != projection.name]:
            del self.disk.built[one]
            self.disk.active.pop(one.name, None)
        super().take_away(projection)


@breaks("RM-13", "Tells versions by pattern, in which an underscore is any character.")
class VersionsByPattern(PlainReadModel):
    async def versions(self, name: str, /) -> Sequence[ProjectionVersion]:
        alike = {
            one.name
            for one in self.disk.built
            if len(one.name) == len(name) and all(b in ("_", a) for a, b in zip(one.name, name, strict=True))
        }
        return [version for one in sorted(alike | {name}) for version in await super().versions(one)]


class JoinsNames(PlainReadModel):
    """A read model with one namespace for the tables of all projections."""

    def table_name(self, projection: ProjectionId, table: str) -> str:
        return f"{projection.name}_v{projection.version}_{table}"

    async def prepare(self, projection: ProjectionId, tables: Sequence[Table], /) -> None:
        is_new = projection not in self.disk.built
        await super().prepare(projection, tables)
        if is_new:
            shared = getattr(self.disk, "shared", None) or self.spaces.setdefault(id(self.disk), {})
            rows = self.disk.built[projection].rows
            for table in tables:
                rows[table.name] = shared.setdefault(self.table_name(projection, table.name), rows[table.name])

    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        for change in changes:
            self.change(known.tables[change.table], known.rows[change.table], change)
        known.checkpoint = after

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.spaces: dict[int, dict[str, dict[Key, dict[str, Value]]]] = {}


@breaks("RM-13", "Joins the names of projection, version and table with underscores.")
class JoinsWithUnderscores(JoinsNames): ...


@breaks("RM-13", "Cuts the names of tables at 63 characters, as a database does.")
class CutsTableNames(JoinsNames):
    def table_name(self, projection: ProjectionId, table: str) -> str:
        return f"{projection.name}__v{projection.version}__{table}"[:63]


@breaks("RM-13", "Joins the columns of a key to one text.")
class JoinsKeys(PlainReadModel):
    def key_of(self, table: Table, row: Row) -> Key:
        return (":".join(str(row[name]) for name in table.key),)

    def change(self, table: Table, rows: dict[Key, dict[str, Value]], change: Change) -> None:
        if not isinstance(change, Put):
            change = attrs.evolve(change, key=(":".join(map(str, change.key)),))
        super().change(table, rows, change)


@breaks("RM-14", "A cancelled question keeps its connection.")
class QuestionKeepsConnection(PlainReadModel):
    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.pool = anyio.Semaphore(20)

    async def checkpoint_of_page(self, known: Built) -> Checkpoint:
        at = known.checkpoint
        await self.pool.acquire()
        await let_others_run()
        self.pool.release()
        return at


@breaks("RM-14", "A cancelled activation keeps its lock.")
class ActivationKeepsTheLock(PlainReadModel):
    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.lock = anyio.Semaphore(1)

    async def activate(self, projection: ProjectionId, /, *, before: Checkpoint) -> bool:
        await self.lock.acquire()
        done = await super().activate(projection, before=before)
        self.lock.release()
        return done

    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        async with self.lock:
            await super().write(known, changes, after)


@breaks("RM-14", "The answer to a question that was cancelled is given to the next caller.")
class PageOfAnother(PlainReadModel):
    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.answers: deque[Checkpoint] = deque()

    async def checkpoint(self, projection: ProjectionId, /) -> Checkpoint:
        self.answers.append(await super().checkpoint(projection))
        await let_others_run()
        return self.answers.popleft()


@breaks("RM-15", "Writes a commit in batches of a hundred, and others read in between.")
class WritesBatches(PlainReadModel):
    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        for first in range(0, len(changes), 100):
            await super().write(known, changes[first : first + 100], known.checkpoint)
            if first + 100 < len(changes):
                await let_others_run()
        known.checkpoint = after


@breaks("RM-15", "Writes one table after the other.")
class WritesTableByTable(PlainReadModel):
    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        names = list(dict.fromkeys(change.table for change in changes))
        for name in names[:-1]:
            await super().write(known, [change for change in changes if change.table == name], after)
            await let_others_run()
        await super().write(known, [change for change in changes if change.table == names[-1]] if names else [], after)


@breaks("RM-15", "Writes the first 500 changes of a commit in one transaction, and the others in another.")
class TwoTransactions(PlainReadModel):
    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        await super().write(known, changes[:500], after if len(changes) <= 500 else known.checkpoint)
        if len(changes) > 500:
            await super().write(known, changes[500:], after)


@breaks("RM-16", "Reads a checkpoint once, and believes it.", contract=ReadModelsOfOneSite)
class BelievesItsCheckpoint(PlainReadModel):
    async def commit(self, projection: ProjectionId, changes: Sequence[Change], /, *, before: Checkpoint, after: Checkpoint) -> None:
        await super().commit(projection, changes, before=before, after=after)
        self.seen[projection] = after

    async def checkpoint(self, projection: ProjectionId, /) -> Checkpoint:
        there = await super().checkpoint(projection)
        return self.seen.get(projection, there)

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.seen: dict[ProjectionId, Checkpoint] = {}


@breaks("RM-16", "Has a lock for its own instance alone.", contract=ReadModelsOfOneSite)
class LocksItself(PlainReadModel):
    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.lock = anyio.Lock()

    async def commit(self, projection: ProjectionId, changes: Sequence[Change], /, *, before: Checkpoint, after: Checkpoint) -> None:
        async with self.lock:
            await super().commit(projection, changes, before=before, after=after)

    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        await let_others_run()
        await super().write(known, changes, after)


@breaks("RM-16", "Remembers which version is active.", contract=ReadModelsOfOneSite)
class RemembersTheActive(PlainReadModel):
    def active_of_page(self, projection: ProjectionId) -> ProjectionId:
        return self.actives.setdefault(projection.name, super().active_of_page(projection))

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.actives: dict[str, ProjectionId] = {}


@breaks("RM-16", "Goes on with a version that another instance dropped.", contract=ReadModelsOfOneSite)
class RemembersVersions(PlainReadModel):
    def known(self, projection: ProjectionId) -> Built:
        remembered: dict[ProjectionId, Built] = getattr(self, "remembered", {})
        try:
            self.remembered = remembered | {projection: super().known(projection)}
        except ProjectionNotFoundError:
            if projection not in remembered:
                raise
        return self.remembered[projection]


class OtherSums(PlainReadModel):
    """A read model with arithmetic of its own."""

    def sum(self, value: int) -> int:
        return value

    def add(self, table: Table, rows: dict[Key, dict[str, Value]], change: Any) -> None:
        row = rows.setdefault(change.key, dict.fromkeys(table.columns) | dict(zip(table.key, change.key, strict=True)))
        row.update(change.row)
        for name, amount in change.amounts.items():
            row[name] = self.sum(int(row[name] or 0) + amount)


@breaks("RM-17", "A sum beyond 64 bits begins again at the other end.")
class SumsWrap(OtherSums):
    def sum(self, value: int) -> int:
        return (value + 2**63) % 2**64 - 2**63


@breaks("RM-17", "A sum beyond 64 bits becomes the largest number.")
class SumsStop(OtherSums):
    def sum(self, value: int) -> int:
        return max(-(2**63), min(value, 2**63 - 1))


@breaks("RM-17", "Checks sums upwards, and not downwards.")
class SumsHaveNoFloor(OtherSums):
    def sum(self, value: int) -> int:
        if value >= 2**63:
            msg = "beyond 64 bits"
            raise ValueError(msg)
        return value


@breaks("RM-17", "Adds numbers as fractions.")
class SumsAreFractions(OtherSums):
    def sum(self, value: int) -> int:
        if not -(2**63) <= value < 2**63:
            msg = "beyond 64 bits"
            raise ValueError(msg)
        return value if abs(value) < 2**53 else min(int(float(value)), 2**63 - 1)


@breaks("RM-18", "Drops the rows of a version, lets others run, and then drops the version.")
class DropsInTwoSteps(PlainReadModel):
    async def drop(self, projection: ProjectionId, /) -> None:
        built = self.known(projection)
        self.check_drop(projection, sum(one.name == projection.name for one in self.disk.built) - 1)
        built.rows = {name: {} for name in built.tables}
        await super().drop(projection)


@breaks("RM-18", "Takes the readers from one version, lets others run, and then gives them the other.")
class ActivatesInTwoSteps(PlainReadModel):
    async def activate(self, projection: ProjectionId, /, *, before: Checkpoint) -> bool:
        old = self.disk.active[projection.name]
        done = await super().activate(projection, before=before)
        if done and old != projection:
            self.disk.active[projection.name] = ProjectionId(projection.name, 999)
            await let_others_run()
            self.disk.active[projection.name] = projection
        return done


@breaks("RM-18", "Notes a version, lets others run, and then makes its tables.")
class PreparesInTwoSteps(PlainReadModel):
    async def prepare(self, projection: ProjectionId, tables: Sequence[Table], /) -> None:
        is_new = projection not in self.disk.built
        await super().prepare(projection, tables)
        if is_new and projection.version == 3:
            built = self.disk.built[projection]
            rows, built.rows = built.rows, {}
            await let_others_run()
            built.rows = rows


@breaks("RM-18", "Looks whether a version is there, lets others run, and then fails where it is.")
class PreparesOnce(PlainReadModel):
    async def prepare(self, projection: ProjectionId, tables: Sequence[Table], /) -> None:
        was_there = projection in self.disk.built
        await let_others_run()
        if not was_there and projection in self.disk.built:
            msg = "table already exists"
            raise RuntimeError(msg)
        await super().prepare(projection, tables)


@breaks("RM-19", "Keeps the very row that it was given.")
class KeepsTheCallersRow(PlainReadModel):
    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        await super().write(known, changes, after)
        for change in changes:
            if isinstance(change, Put) and isinstance(change.row, dict):
                key = self.key_of(known.tables[change.table], change.row)
                if key in known.rows[change.table]:
                    change.row.update(known.rows[change.table][key])
                    known.rows[change.table][key] = change.row


@breaks("RM-19", "Gives the very row that it keeps.")
class GivesItsOwnRow(PlainReadModel):
    async def select(  # the port's
        self,
        projection: ProjectionId,
        table: str,
        /,
        *,
        where: Row | None = None,
        order: Sequence[str] = (),
        after: Sequence[Value] | None = None,
        descending: bool = False,
        limit: int,
    ) -> RowsPage:
        page = await super().select(projection, table, where=where, order=order, after=after, descending=descending, limit=limit)
        known = self.known(projection)
        shape = known.tables[table]
        own: list[Mapping[str, Value]] = [known.rows[table][self.key_of(shape, row)] for row in page.rows]
        return attrs.evolve(page, rows=own)
