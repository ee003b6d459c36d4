"""Whatever kind of value somebody puts into a column about code, the plugin is refused, by name and
with what to do, and everything that reads the row goes on."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from casparian.adapters.queue import open_sqlite, wall_clock_us
from casparian.adapters.queue.altered import _DEPLOYMENT, _MANIFEST, _REFUSAL, _SIGNED, Kinds
from casparian.app.code_guard import CodeGuard, problems
from casparian.domain.deployments import DeployCheck, Deployment, Origin, RefusedDeploy
from casparian.domain.plugins import code_hash
from casparian.domain.signing import VerifyingKey, hmac_key, hmac_verifier, sign
from casparian.testing.world import PLUGIN, applied

SECRET = bytes(32)
CODE = b"better\n"
VALUES = ("'text'", "x'00ff'", "1000000000000", "NULL")
SQL_KINDS = {int: "integer", bytes: "blob"}


class Keys:
    def find(self, key_id: str) -> VerifyingKey | None:
        return hmac_verifier("office", SECRET)


GUARD = CodeGuard(Keys(), require_signature=False)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With one deployed plugin, and a refused deployment."""
    path = tmp_path_factory.mktemp("altered") / "queue.sqlite3"
    with closing(open_sqlite(str(path), wall_clock_us)) as stores:
        stores.store.apply(applied())
        key, installation = hmac_key("office", SECRET), stores.ledger.installation
        signed = sign(key, PLUGIN, 2, CODE, installation, 1, bytes(16))
        deployment = Deployment(PLUGIN, 2, code_hash(CODE), Origin.DEPLOY, 5, signed=signed)
        stores.store.deploy(deployment, CODE, "0" * 32)
        stores.store.refuse(RefusedDeploy(7, DeployCheck.NONCE, "Refused.", PLUGIN, 2, "office"))
        live = {one.name: one for one in stores.store.live()}
        assert problems(stores.store, GUARD, live) == {}
    return path


def altered(database: Path, table: str, column: str, value: str, where: str) -> str | None:
    """The kind of value that stands there now; None where the database refuses it."""
    with closing(sqlite3.connect(database)) as connection:
        try:
            connection.execute(f"update {table} set {column} = {value} where {where}")
        except sqlite3.IntegrityError:
            return None
        connection.commit()
        row = connection.execute(f"select typeof({column}) from {table} where rowid = 2").fetchone()
        return str(row[0]) if row else ""


def cases(kinds: Kinds) -> list[tuple[str, str]]:
    return [(column, SQL_KINDS.get(kind, "text")) for column, kind in kinds.items()]


@pytest.mark.parametrize(
    ("table", "column", "kind"),
    [
        *(("plugin_manifest", *case) for case in cases(_MANIFEST)),
        *(("plugin_deployment", *case) for case in cases({**_DEPLOYMENT, **_SIGNED})),
    ],
)
def test_code_is_refused(
    database: Path, tmp_path: Path, table: str, column: str, kind: str
) -> None:
    """Where the value is not of the column's kind; where it is, signature and hash judge."""
    for value in VALUES:
        copy = tmp_path / "copy.sqlite3"
        shutil.copy(database, copy)
        stands = altered(copy, table, column, value, "version = 2")
        if stands is None:
            continue
        with closing(open_sqlite(str(copy), wall_clock_us, create=False)) as stores:
            store = stores.store
            live = {one.name: one for one in store.live()}
            refused = problems(store, GUARD, live)
            wrong = stands != kind and (column, value) != ("key_id", "NULL")
            if wrong or column in ("code", "content_hash", "body", "signature", "key_id"):
                # A plugin without a name is none.
                assert PLUGIN in refused or PLUGIN not in live, (value, stands)
                assert all("casparian deploy" in text for text in refused.values())
            store.deployments()
            stores.reports.status()
            assert type(store.newest_version(PLUGIN)) is int
            # And the next deployment puts it right.
            version = store.newest_version(PLUGIN) + 1
            signed = sign(
                hmac_key("office", SECRET), PLUGIN, version, CODE, stores.ledger.installation, 1,
                bytes(16),
            )  # fmt: skip
            new = Deployment(PLUGIN, version, code_hash(CODE), Origin.DEPLOY, 6, signed=signed)
            store.deploy(new, CODE, "1" * 32)
            live = {one.name: one for one in store.live()}
            assert problems(store, GUARD, live) == {}, (value, stands)


@pytest.mark.parametrize(("column", "kind"), cases(_REFUSAL))
def test_the_audit_is_listed(database: Path, tmp_path: Path, column: str, kind: str) -> None:
    for value in VALUES:
        copy = tmp_path / "copy.sqlite3"
        shutil.copy(database, copy)
        if altered(copy, "deploy_refusal", column, value, "1") is None:
            continue
        with closing(open_sqlite(str(copy), wall_clock_us, create=False)) as stores:
            (told,) = stores.store.refusals()
            assert told.message == "Refused." or "deploy_refusal" in told.message or kind == "text"
