"""What the tables are made of: types of columns that fit every database, and usual columns."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Double,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Unicode,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Only a column of exactly this type counts up by itself in SQLite.
Id = BigInteger().with_variant(Integer(), "sqlite")
Path = LargeBinary(1600)
Hash = String(64)
Name = Unicode(100)
BundleName = Unicode(150)
# What PostgreSQL calls a FLOAT of this size when it is asked.
Seconds = Float().with_variant(Double(), "postgresql")


class Raw(LargeBinary):
    """Bytes, read as what lies there: SQLite keeps a text as well, which others would choke on."""

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        return None


def numbered_table(name: str, *items: Column[object] | Index | UniqueConstraint) -> Table:
    return Table(name, metadata, *items, sqlite_autoincrement=True)


def id_column() -> Column[object]:
    return Column("id", Id, primary_key=True, autoincrement=True)


def whole(name: str, default: int | None = None, nullable: bool = False) -> Column[object]:
    given = None if default is None else text(str(default))
    return Column(name, BigInteger, nullable=nullable, server_default=given)


def reference(name: str, target: str, nullable: bool = False) -> Column[object]:
    return Column(name, Id, ForeignKey(target), nullable=nullable)


def stat_columns(nullable: bool) -> list[Column[object]]:
    names = ("size", "mtime_ns", "ctime_ns", "inode", "device")
    return [Column(name, BigInteger, nullable=nullable) for name in names]
