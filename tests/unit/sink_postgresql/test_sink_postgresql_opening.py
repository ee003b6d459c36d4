"""URIs, settings, sessions, rights: what is known of a PostgreSQL sink before a row comes."""

from __future__ import annotations

from typing import Any

import pytest

from casparian import Settings
from casparian.adapters.sink._postgresql_session import SETTINGS
from casparian.adapters.sink.postgresql import PostgresqlSink, PostgresqlSinkSettings
from casparian.app.registry import Registry
from casparian.domain.errors import ConfigurationError, UnavailableError
from casparian.domain.publish import Target
from tests.unit.sink_postgresql.place import Query, factory, opened

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("uri", "location", "name"),
    [
        ("postgresql://public.orders", "public", "orders"),
        ("postgresql://Sales Data.Orders", "Sales Data", "Orders"),
        ("postgresql://s.t_{topic}_x", "s", "t_sales_x"),
    ],
)
def test_a_uri_is_a_schema_and_a_table(uri: str, location: str, name: str) -> None:
    made = factory()
    assert made.parse(uri, "/base", "plug", "sales") == Target("postgresql", location, name)
    assert made.absolute(uri, "/base") == uri


@pytest.mark.parametrize(
    "uri", ["postgresql://", "postgresql://orders", "postgresql://a.b.c", "postgresql://.b"]
)
def test_a_uri_without_schema_or_table_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"not a sink of the form postgresql://SCHEMA\."):
        factory().parse(uri, "/", "plug", "orders")


def test_an_address_in_the_uri_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match=r"belongs into \[sinks.postgresql\]") as caught:
        factory().parse(f"postgresql://me:{SECRET}@host/db", "/", "plug", "orders")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 64, "ä" * 32, "_casparian_publish"])
def test_names_that_the_server_would_cut_or_that_are_kept_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"at most 63 bytes|to itself"):
        factory().parse(f"postgresql://public.{name}", "/", "plug", "orders")


def test_the_server_is_that_of_the_queue_where_no_other_is_named(tmp_path: Any) -> None:
    """And no word of its password is shown."""
    registry = Registry.default()
    queue = {"database": {"url": f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/db"}}
    sink = registry.sink_factories(Settings.of(queue, tmp_path))["postgresql"].open("s")
    with pytest.raises(UnavailableError, match="cannot be reached") as caught:
        sink.check()
    assert SECRET not in str(caught.value)
    nowhere = registry.sink_factories(Settings.of({}, tmp_path))["postgresql"]
    with pytest.raises(ConfigurationError, match=r"set \[sinks.postgresql\] url"):
        nowhere.open("s")
    own = {"sinks": {"postgresql": {"url": "nonsense"}}, **queue}
    with pytest.raises(ConfigurationError, match="cannot be read") as caught_too:
        registry.sink_factories(Settings.of(own, tmp_path))["postgresql"].open("s")
    assert "nonsense" not in str(caught_too.value)
    assert SECRET not in repr(PostgresqlSinkSettings(url=SECRET))


def test_a_session_has_its_timeouts(sink: PostgresqlSink) -> None:
    with sink._pool.session() as session:
        found = {n: session.rows("SELECT current_setting($1)", n)[0][0] for n in SETTINGS}
        session.commit()
    as_shown = {"statement_timeout": "1min", "tcp_user_timeout": "10000"}
    assert found == {**SETTINGS, **as_shown}


def test_a_role_without_rights_is_told_which(
    postgresql_url: str, sink: PostgresqlSink, schema: str, query: Query
) -> None:
    role = f"{schema}_role"
    query(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
    try:
        login = postgresql_url.replace("postgres@", f"{role}:{SECRET}@")
        with pytest.raises(ConfigurationError, match="GRANT USAGE, CREATE ON SCHEMA") as caught:
            opened(login, f"{schema}_other")
        assert SECRET not in str(caught.value)
    finally:
        query(f"DROP ROLE {role}")
