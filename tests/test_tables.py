"""The rules that every table keeps, by its class; see `app/tables.py` and `app/columns.py`."""

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import Column, Index, Table, UniqueConstraint, text
from sqlmodel import SQLModel

from app.columns import Holds, TableClass
from app.db import Database
from app.tables import APPEND_ONLY, TABLE_CLASSES, metadata

TABLES = metadata.sorted_tables
OWNED = [table for table in TABLES if TABLE_CLASSES.get(table.name) is TableClass.MEMBER_OWNED]

OWNER = {"requests": "owner"}
"""The column that begins every key of a member-owned table, where it is not `member_id`: a
request may be an employee's too."""

LOOKED_UP_BY = {
    ("measurements", "code"),
    ("measurement_streams", "code"),
    ("daily_totals", "code"),
    ("daily_total_days", "code"),
    ("alerts", "rule"),
    ("mild_condition_cases", "condition"),
    ("member_sign_ins", "issuer"),
    ("member_sign_ins", "subject"),
    ("staff_sign_ins", "issuer"),
    ("staff_sign_ins", "subject"),
    ("push_tokens", "token"),
    ("members", "phone"),
    ("contact_challenges", "address_hash"),
    ("message_links", "token_hash"),
}
"""Columns that an index may hold although they say who or how somebody is. An index is a
second copy, which erasure and encryption must know: name it here only when there is no other
way to find the row."""

MEMBERS = "app.members.models"
"""Where identity stands."""


def owner_of(table: Table) -> str:
    return OWNER.get(table.name, "member_id")


def of_class(*classes: TableClass) -> list[Table]:
    return [table for table in TABLES if TABLE_CLASSES.get(table.name) in classes]


def holds(column: "Column[object]") -> Holds:
    return Holds(column.info["class"])


def names(columns: object) -> list[str]:
    return [column.name for column in columns]  # type: ignore[attr-defined]


def unique_keys(table: Table) -> Iterator[list[str]]:
    """The columns of the primary key, of unique constraints and of unique indexes."""
    yield names(table.primary_key.columns)
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield names(constraint.columns)
    for index in table.indexes:
        if index.unique:
            yield index_columns(index)


def index_columns(index: Index) -> list[str]:
    """An expression has no name and counts as nothing."""
    return [getattr(expression, "name", "") for expression in index.expressions]


def test_every_table_has_a_class_and_every_class_a_table() -> None:
    assert set(TABLE_CLASSES) == {table.name for table in TABLES}
    assert set(OWNER) <= set(TABLE_CLASSES)
    assert len(OWNED) > 10


@pytest.mark.parametrize("table", OWNED, ids=lambda table: table.name)
def test_keys_of_member_owned_tables_begin_with_the_member(table: Table) -> None:
    for columns in unique_keys(table):
        assert columns[0] == owner_of(table), columns


@pytest.mark.parametrize("table", OWNED, ids=lambda table: table.name)
def test_foreign_keys_of_member_owned_tables_stay_with_the_member(table: Table) -> None:
    for key in table.foreign_key_constraints:
        referred = key.referred_table
        target = TABLE_CLASSES[referred.name]
        if target is TableClass.MEMBER_OWNED:
            first = key.elements[0]
            assert names(key.columns)[0] == owner_of(table)
            assert first.column.name == owner_of(referred)
        else:
            assert target is TableClass.REFERENCE, referred.name


@pytest.mark.parametrize(
    "table",
    of_class(TableClass.REFERENCE, TableClass.DIRECTORY, TableClass.INFRASTRUCTURE),
    ids=lambda table: table.name,
)
def test_no_other_table_refers_to_a_member_owned_one(table: Table) -> None:
    """A shard cannot vouch for the rows of tables that are everywhere."""
    for key in table.foreign_key_constraints:
        assert TABLE_CLASSES[key.referred_table.name] is TableClass.REFERENCE
        assert TABLE_CLASSES[table.name] is not TableClass.INFRASTRUCTURE


def test_only_members_tables_and_directories_know_a_member() -> None:
    knowing = {table.name for table in TABLES if owner_of(table) in table.columns}
    directories = {table.name for table in of_class(TableClass.DIRECTORY)}
    assert knowing - directories == {table.name for table in OWNED}
    for table in of_class(TableClass.DIRECTORY):
        leads_to = {"member_id", "staff_id"}.intersection(names(table.columns))
        assert len(leads_to) == 1, table.name
        # It leads from a key of the world outside to ours.
        assert leads_to.isdisjoint(names(table.primary_key.columns)), table.name


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_column_says_what_it_holds(table: Table) -> None:
    for column in table.columns:
        assert isinstance(column.info.get("class"), Holds), column.name


def test_identity_stands_in_members_tables_only() -> None:
    modules = {
        mapper.local_table.name: mapper.class_.__module__  # type: ignore[attr-defined]
        for mapper in SQLModel._sa_registry.mappers
    }
    assert set(modules) == set(TABLE_CLASSES)
    with_identity = {
        table.name for table in TABLES if Holds.IDENTITY in {holds(it) for it in table.columns}
    }
    assert with_identity == {"members", "member_sign_ins", "staff", "staff_sign_ins"}
    assert {modules[name] for name in with_identity} == {MEMBERS}


def test_infrastructure_and_published_data_hold_nothing_about_anybody() -> None:
    for table in of_class(TableClass.INFRASTRUCTURE, TableClass.REFERENCE):
        for column in table.columns:
            if table.name != "staff":
                assert holds(column) is Holds.NONE, (table.name, column.name)


def test_append_only_tables_exist_and_are_members_or_published_data() -> None:
    assert {name for name in APPEND_ONLY if name in TABLE_CLASSES} == APPEND_ONLY
    assert {TABLE_CLASSES[name] for name in APPEND_ONLY} == {
        TableClass.MEMBER_OWNED,
        TableClass.REFERENCE,
    }
    assert {"points_transfers", "consents", "audit_reads"} <= APPEND_ONLY


async def test_no_index_holds_what_is_sensitive_unless_it_must(db: Database) -> None:
    """Its columns, expressions and conditions, as the database has them."""
    async with db.read() as connection:
        rows = await connection.execute(
            text("select tablename, indexdef from pg_indexes where schemaname = 'public'")
        )
        definitions = list(rows)
    found = set()
    for table_name, definition in definitions:
        if table_name not in TABLE_CLASSES:
            continue
        words = set(re.findall(r"\w+", definition.partition(" USING ")[2]))
        columns = metadata.tables[table_name].columns
        found |= {
            (table_name, it.name) for it in columns if it.name in words and holds(it) != "none"
        }
    assert found == LOOKED_UP_BY


async def test_only_the_queue_has_triggers(db: Database) -> None:
    async with db.read() as connection:
        rows = await connection.scalars(
            text("select tgrelid::regclass::text from pg_trigger where not tgisinternal")
        )
        triggered = set(rows)
    assert triggered == {"pgqueuer"}


async def test_instants_have_a_zone_and_numbers_are_exact(db: Database) -> None:
    async with db.read() as connection:
        rows = await connection.execute(
            text(
                "select table_name, column_name, data_type, numeric_precision, numeric_scale,"
                " column_default, is_identity from information_schema.columns"
                " where table_schema = 'public'"
            )
        )
        columns = [row for row in rows if row.table_name in TABLE_CLASSES]
    allowed = {
        *("uuid", "text", "boolean", "integer", "bigint", "numeric", "bytea", "jsonb", "ARRAY"),
        *("date", "timestamp with time zone", "time without time zone"),
    }
    assert {row.data_type for row in columns} <= allowed
    decimals = [row for row in columns if row.data_type == "numeric"]
    # And how probable an arm was: as small as it may be.
    quantity, percent, chance = (12, 3), (5, 2), (None, None)
    found = {(it.numeric_precision, it.numeric_scale) for it in decimals}
    assert found <= {quantity, percent, chance}
    # No counter of the database: it would be one for all members. Only constants, for the rows
    # of a release that does not know the column.
    defaults = {row.column_default for row in columns if row.column_default}
    texts = {
        "'EXAMINATION'::text",
        "'MEMBER'::text",
        "'ANNUAL'::text",
        "'NORMAL'::text",
        "'PUSH'::text",
    }
    assert defaults == {"0", "false", *texts}
    assert {row.is_identity for row in columns} == {"NO"}
