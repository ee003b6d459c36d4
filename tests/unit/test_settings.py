"""Settings: what a file may say, what the environment changes, and how a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from casparian import Engine, Settings
from casparian.domain.errors import ConfigurationError

WHOLE = """
[database]
url = "sqlite:///data/queue.sqlite3"
[scout]
interval_s = 7.0
[[source_root]]
path = "inbox"
[[rule]]
pattern = "**/*.csv"
tag = "csv"
[plugin.csv_table]
tags = ["csv"]
settings = { delimiter = ";" }
max_rejects = 3
[plugin.csv_table.topics."*"]
sink = "parquet://./output"
mode = "append"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "casparian.toml"


def load(file: Path, text: str) -> Settings:
    file.write_text(text)
    return Settings.load(file)


def told(file: Path, text: str) -> str:
    """The error's text, which must be one line that names the file."""
    with pytest.raises(ConfigurationError) as caught:
        load(file, text)
    message = str(caught.value)
    assert "\n" not in message
    assert str(file) in message
    return message


def test_a_whole_file(file: Path) -> None:
    settings = load(file, WHOLE)
    plugin = settings.plugin["csv_table"]
    assert settings.database_url == f"sqlite:///{file.parent}/data/queue.sqlite3"
    assert settings.scout.interval_s == 7.0
    assert [root.path for root in settings.source_root] == ["inbox"]
    assert plugin.settings == {"delimiter": ";"}
    assert plugin.max_rejects == 3
    assert isinstance(plugin.max_rejects, int)
    assert plugin.topics["*"].mode == "append"


def test_an_empty_file_has_defaults_and_paths_beside_it(file: Path) -> None:
    settings = load(file, "")
    assert settings.database_url == f"sqlite:///{file.parent}/casparian_flow.sqlite3"
    assert settings.plugin_directory == file.parent / "plugins"


def test_the_older_form_of_the_database(file: Path) -> None:
    settings = load(file, '[database]\ntype = "sqlite3"\ndb_location = "old.sqlite3"')
    assert settings.database_url == f"sqlite:///{file.parent}/old.sqlite3"


def test_tables_of_sinks_are_a_place_for_settings_to_come(file: Path) -> None:
    settings = load(file, '[sinks.mssql]\nurl = "mssql+pyodbc://host/db"')
    assert settings.sinks == {"mssql": {"url": "mssql+pyodbc://host/db"}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[queue]\nadapter = "sqlit"',
            "line 2: queue.adapter = 'sqlit' is unknown; known: mssql, postgresql, sqlite.",
        ),
        (
            '[database]\nurl = "postgresqll+x://ann:secret@host/q"',
            "begins with 'postgresqll'; known: mssql, postgresql, sqlite.",
        ),
        (
            '[queue]\nadapter = "sqlite"\n[database]\nurl = "other://ann:secret@host/q"',
            "does not fit the database url, which begins with other://",
        ),
    ],
)
def test_the_queue_adapter_must_be_that_of_the_url(file: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        _ = Engine(load(file, text)).stores
    assert words in str(refused.value)
    assert str(file) in str(refused.value)
    assert "secret" not in str(refused.value)


def test_both_forms_of_the_database_are_refused(file: Path) -> None:
    message = told(file, '[database]\nurl = "sqlite:///a"\ndb_location = "b"')
    assert "either url, or type with db_location" in message


# --- which file -------------------------------------------------------------------------


def test_the_environment_names_the_file_and_an_argument_beats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.toml").write_text("[scout]\ninterval_s = 1")
    (tmp_path / "two.toml").write_text("[scout]\ninterval_s = 2")
    monkeypatch.setenv("CASPARIAN_CONFIG", str(tmp_path / "one.toml"))
    assert Settings.load().scout.interval_s == 1
    assert Settings.load(tmp_path / "two.toml").scout.interval_s == 2


def test_without_a_name_it_is_casparian_toml_here(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("[scout]\ninterval_s = 3")
    monkeypatch.delenv("CASPARIAN_CONFIG", raising=False)
    monkeypatch.chdir(file.parent)
    assert Settings.load().scout.interval_s == 3


def test_a_missing_file_says_how_to_make_one(file: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"casparian\.toml.*casparian init DIR"):
        Settings.load(file)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Settings.load(tmp_path)


# --- the environment --------------------------------------------------------------------


def test_a_variable_beats_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASPARIAN_SCOUT__INTERVAL_S", "0.5")
    settings = load(file, WHOLE)
    assert settings.scout.interval_s == 0.5
    assert settings.scout.settle_s == 2.0


def test_a_variable_with_an_unknown_key_names_the_known_ones(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASPARIAN_SCOUT__INTERVALL_S", "0.5")
    message = told(file, "")
    assert "scout.intervall_s" in message
    assert "'interval_s'" in message


def test_a_variable_with_an_unknown_table_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASPARIAN_SCOUTS__INTERVAL_S", "0.5")
    file.write_text("")
    with pytest.raises(ConfigurationError, match=r"CASPARIAN_SCOUTS__INTERVAL_S.*'scout'"):
        Settings.load(file)


@pytest.mark.parametrize("value", ["soon", "-1"])
def test_a_variable_of_another_kind_is_told_by_its_key(
    file: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("CASPARIAN_SCOUT__INTERVAL_S", value)
    message = told(file, "")
    assert "scout.interval_s" in message
    assert repr(value) not in message  # It may be a secret.


def test_a_variable_for_a_whole_table_that_is_no_json(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASPARIAN_SCOUT", "{")
    assert "(CASPARIAN_SCOUT)" in told(file, "")


def test_a_list_in_the_environment_is_json(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASPARIAN_SCOUT__IGNORED_SUFFIXES", '[".x"]')
    assert load(file, "").scout.ignored_suffixes == (".x",)
    monkeypatch.setenv("CASPARIAN_SCOUT__IGNORED_SUFFIXES", ".x")
    assert "CASPARIAN_SCOUT__IGNORED_SUFFIXES" in told(file, "").upper()


def test_values_are_taken_from_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INBOX", "/data/in")
    settings = load(file, '[[source_root]]\npath = "${INBOX}/new"')
    assert settings.source_root[0].path == "/data/in/new"


def test_a_missing_variable_is_named_with_its_place(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    message = told(file, '[database]\nurl = "sqlite:///${NOT_SET}"')
    assert "database.url" in message
    assert "NOT_SET" in message


def test_a_secret_from_the_environment_is_not_told(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "hunter2")
    message = told(file, '[scout]\ninterval_s = "${PASSWORD}"')
    assert "scout.interval_s" in message
    assert "hunter2" not in message


# --- mistakes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[scout]\nwatch = true\n\nintervall_s = 1", 4),
        ("# a\n[[rule]]\npattern = '*'\ntag = 'a'\n[[rule]]\npattern = '*'\ntag = 'b'\nx = 1", 8),
        ("[[rule]]\npattern = '*'\ntag = 'a'\n\n[[rule]]\npattern = '*'", 5),
        ("[plugin.x]\nsettings = { a = 1 }\ntopics.a.sink = 3", 3),
        ("[scout]\n# more\nignored_suffixes = [\n  '.a',\n  3,\n]\n", 3),
        ("[database]\n\nurl = '${THIS_IS_NOT_SET}'", 3),
    ],
)
def test_a_mistake_is_told_with_the_line_on_which_its_key_begins(
    file: Path, text: str, line: int
) -> None:
    assert f"{file}, line {line}: " in told(file, text)


def test_a_wrong_variable_is_told_by_its_name_and_not_by_a_line(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASPARIAN_SCOUT__INTERVAL_S", "soon")
    message = told(file, "[scout]\ninterval_s = 1")
    assert "by the environment variable CASPARIAN_SCOUT__INTERVAL_S: scout.interval_s" in message
    assert "line" not in message


def test_a_file_that_is_nested_without_end_is_refused(file: Path) -> None:
    file.write_text("a = " + "[" * 100_000)
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        Settings.load(file)


def test_a_mistake_in_toml_is_told_with_its_line(file: Path) -> None:
    assert "line 3" in told(file, "[scout]\nwatch = true\ninterval_s = \n")


def test_bytes_that_are_no_utf8(file: Path) -> None:
    file.write_bytes(b'[database]\nurl = "\xff"')
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        Settings.load(file)


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("[scout]\nintervall_s = 1", "scout.intervall_s", "interval_s"),
        ("[sout]\ninterval_s = 1", "sout", "scout"),
        ('[[rule]]\npattern = "*"\ntag = "a"\npriorty = 1', "rule.0.priorty", "priority"),
        ('[[source_root]]\npaht = "in"\npath = "in"', "source_root.0.paht", "path"),
        ("[plugin.x]\ntimeout = 1", "plugin.x.timeout", "timeout_s"),
        (
            '[plugin.x.topics.a]\nsink = "parquet://o"\nmod = "append"',
            "plugin.x.topics.a.mod",
            "mode",
        ),
    ],
)
def test_an_unknown_key_names_the_known_and_the_nearest(
    file: Path, text: str, key: str, near: str
) -> None:
    message = told(file, text)
    assert f"the key {key} is unknown" in message
    assert f"Did you mean {near!r}?" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[scout]\ninterval_s = 0", ("scout.interval_s", "greater than 0", "(it is 0)")),
        ('[worker]\nverify = "no"', ("worker.verify", "'snapshot'", "'no'")),
        ("[worker]\nlease_s = 30\nrenew_s = 25", ("worker", "renew_s must be below give_up_s")),
        ("[plugin_host]\nsidecars = 0", ("plugin_host.sidecars", "greater than or equal to 1")),
        ('[plugin.x.topics.a]\nmode = "replace"', ("plugin.x.topics.a.sink", "required")),
        ("scout = 3", ("scout: must be a table, written as [scout] (it is 3)",)),
        ("[[scout]]\ninterval_s = 1", ("must be a table, written as [scout]",)),
        ("[rule]\npattern = 'x'", ("rule: is a list of tables, each written as [[rule]]",)),
    ],
)
def test_a_wrong_value_is_told_with_its_place(
    file: Path, text: str, words: tuple[str, ...]
) -> None:
    message = told(file, text)
    for word in words:
        assert word in message


def test_a_lease_given_alone_brings_its_renewals_along(file: Path) -> None:
    worker = load(file, "[worker]\nlease_s = 3").worker
    assert worker.renew_s == 1.0
    assert worker.give_up_s == 2.0
