"""What can be in a directory: names, links, things that are no files, places nobody may enter."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess

from tests.faults.torture.drop import Drop, Story, lines, text

NAMES = {
    "newline": b"new\nline.csv",
    "quotes": b"'\"`.csv",
    "emoji": "\N{SNOWMAN}\N{GRINNING FACE}.csv".encode(),
    "long": b"x" * 251 + b".csv",
    "notutf8": b"\xff\xfe\x80.csv",
    "glob": b"[a-z]*?{b}.csv",
    "classes": b"[!.csv",
    "backslash": b"back\\slash\\.csv",
    "dash": b"--help.csv",
    "hidden": b".hidden.csv",
    "space": b" lead and trail .csv",
    "percent": b"%2e%2e%2f$(id).csv",
    "control": b"\x01\x1b[31m\x7f.csv",
    "upper": b"CASE.csv",
    "lower": b"case.csv",
    "nfc": "\u00e9.csv".encode(),
    "nfd": "e\u0301.csv".encode(),
}


def every_name(drop: Drop) -> Story:
    for tag, name in NAMES.items():
        drop.put("names", b"names/" + name, tag)
        drop.put("names", b"names/" + name[:-4] + b"/" + name, f"{tag}-dir")
        yield 0.02


def hard_links(drop: Drop) -> Story:
    path = drop.put("hard", b"hard/a.csv", "v1")
    os.link(path, drop.at(b"hard/b.csv"))
    yield drop.done(b"hard/a.csv")
    os.link(path, drop.at(b"hard/late.csv"))
    yield drop.done(b"hard/late.csv")
    # One write, three files that change.
    rows = [key for key, *_ in lines("hard", "v2")]
    drop.put("hard", b"hard/a.csv", "v2")
    for place in (b"hard/b.csv", b"hard/late.csv"):
        drop.stands("hard", place, rows)


def symbolic_links(drop: Drop) -> Story:
    outside = drop.outside / "secret.csv"
    outside.write_bytes(text(lines("links", "secret")))
    os.symlink(outside, drop.at(b"links/out.csv"))
    os.symlink(drop.outside, drop.at(b"links/dir"))
    os.symlink(b"loop.csv", drop.at(b"links/loop.csv"))
    os.symlink(b"..", drop.at(b"links/up"))
    os.symlink(b"/proc/self/root", drop.at(b"links/system"))
    drop.put("links", b"links/real.csv", "real")
    os.symlink(b"real.csv", drop.at(b"links/inner.csv"))
    for name in (b"out.csv", b"loop.csv", b"inner.csv", b"dir/secret.csv", b"up/links/real.csv"):
        drop.nothing("links", b"links/" + name, "symbolic link")
    yield 0.1


def things_that_are_no_files(drop: Drop) -> Story:
    os.mkfifo(drop.at(b"special/fifo.csv"))
    drop.nothing("special", b"special/fifo.csv", "FIFO")
    # A socket's path may be short only.
    directory = os.open(os.path.dirname(drop.at(b"special/socket.csv")), os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"/proc/self/fd/{directory}/socket.csv")
    finally:
        os.close(directory)
    drop.nothing("special", b"special/socket.csv", "socket")
    os.mkdir(drop.at(b"special/directory.csv"))
    drop.nothing("special", b"special/directory.csv", "directory")
    if os.geteuid() == 0:
        with contextlib.suppress(PermissionError):
            os.mknod(drop.at(b"special/null.csv"), 0o20666, os.makedev(1, 3))
            drop.nothing("special", b"special/null.csv", "device")
    yield 0.1


def no_permission(drop: Drop) -> Story:
    drop.put("locked", b"locked/in.csv", "dir")
    drop.nothing("locked", b"locked/in.csv", "Permission denied")
    os.chmod(drop.at(b"locked/."), 0)
    path = drop.put("locked", b"open/locked.csv", "file")
    drop.nothing("locked", b"open/locked.csv", "Permission denied")
    os.chmod(path, 0)
    later = drop.put("locked", b"later/in.csv", "later")
    os.chmod(drop.at(b"later/."), 0)
    also = drop.put("locked", b"open/later.csv", "also")
    os.chmod(also, 0)
    yield 1.5
    os.chmod(os.path.dirname(later), 0o755)
    os.chmod(also, 0o644)


def two_hundred_directories_deep(drop: Drop) -> Story:
    drop.put("deep", b"deep/" + b"d/" * 200 + b"in.csv", "short")
    # Longer than any path that a program can open by its name.
    place = b"deep/" + b"/".join([b"n" * 30] * 200) + b"/in.csv"
    rows = lines("deep", "long")
    fd = os.open(drop.root, os.O_RDONLY)
    for name in place.split(b"/")[:-1]:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    file = os.open(b"in.csv", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
    os.write(file, text(rows))
    os.close(file)
    os.close(fd)
    drop.stands("deep", place, [key for key, *_ in rows], or_refused="File name too long")
    yield 0.1


def very_many_in_one_directory(drop: Drop) -> Story:
    os.makedirs(drop.at(b"many/."), exist_ok=True)
    fd = os.open(drop.at(b"many/."), os.O_RDONLY)
    for n in range(drop.many):
        os.close(os.open(b"%d.dat" % n, os.O_WRONLY | os.O_CREAT, dir_fd=fd))
        if n % 2000 == 0:
            yield 0.01
    os.close(fd)
    drop.put("many", b"many/5x.csv", "one")
    drop.counted("many", b"many/", drop.many + 1)


def a_sparse_file(drop: Drop) -> Story:
    path = drop.write(b"sparse.bin", b"")
    os.truncate(path, drop.sparse)
    digest = hashlib.sha256()
    block = bytes(1 << 20)
    for _ in range(drop.sparse >> 20):
        digest.update(block)
    drop.hashed("sparse", b"sparse.bin", digest.hexdigest())
    drop.nothing("sparse", b"sparse.bin", "no rule matched it")
    yield 0.1


def a_mount_that_disappears(drop: Drop) -> Story:
    """A file system that is mounted in the inbox goes away for some scans, and comes back."""
    if os.geteuid() != 0:
        drop.skipped["mounts"] = "only root may mount"
        return
    kept = {b"one": drop.outside / "one", b"two": drop.outside / "two"}
    for name, source in kept.items():
        source.mkdir()
        drop.mount("-t", "tmpfs", "tmpfs", str(source))
        os.makedirs(drop.at(name + b"/."), exist_ok=True)
        drop.mount("--bind", str(source), os.fsdecode(drop.at(name + b"/.")))
        drop.put("mounts", name + b"/a.csv", name.decode())
        drop.put("mounts", name + b"/d/b.csv", name.decode() + "-inner")
    for name in kept:
        yield drop.done(name + b"/a.csv")
        yield drop.done(name + b"/d/b.csv")
    for name in kept:
        subprocess.run(["umount", "-l", drop.at(name + b"/.")], check=True)
    # More than the scans after which a file counts as deleted.
    yield 3.0
    for name, source in kept.items():
        drop.mount("--bind", str(source), os.fsdecode(drop.at(name + b"/.")))
        for place in (name + b"/a.csv", name + b"/d/b.csv"):
            drop.keeps("mounts", place, 1)
    yield 1.0


KINDS = (
    every_name,
    hard_links,
    symbolic_links,
    things_that_are_no_files,
    no_permission,
    two_hundred_directories_deep,
    very_many_in_one_directory,
    a_sparse_file,
    a_mount_that_disappears,
)
