"""Looks between scans: they see what they are pointed at, and delete nothing."""

from __future__ import annotations

from pathlib import Path

from tests.unit.scout.world import World, counts


def test_a_look_sees_what_it_is_pointed_at_and_deletes_nothing(world: World) -> None:
    for name in ("a", "d/x", "d/e/y", "d.z", "other"):
        world.write(name)
    paths = [b"a", b"d", b"d/x", b"a", b"gone", b"d/e"]
    assert counts(world.scout.look(world.root, paths)) == {"new": 3}
    assert sorted(world.source.read) == [b"a", b"d/e/y", b"d/x"]
    (world.path / "d/x").unlink()
    for _ in range(3):
        assert counts(world.scout.look(world.root, [b"d"])) == {"unchanged": 1}
    assert not world.known("d/x").missed_scans
    assert counts(world.scout.look(world.root, [b""])) == {"new": 2, "unchanged": 2}


def test_a_look_through_a_link_sees_nothing(world: World, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("x")
    (world.path / "link").symlink_to(tmp_path / "outside")
    (world.path / "file").symlink_to(tmp_path / "outside/file")
    assert counts(world.scout.look(world.root, [b"link", b"link/file", b"file"])) == {}
