# SPDX-License-Identifier: Apache-2.0
"""What hosts keep for recall, damage to it by chance, and whether a guest's memory is right all the same.

Damage is done from outside while no session runs. A damage of files is a function of (folder, chance) that says what it did, or nothing if there was nothing to damage; one of
the whole folder is a context manager of (lab, host), which puts it right again.
"""
import contextlib
import os
import shutil
from pathlib import Path

from labkit import wait_until
from movekit import wait_connected

STORE = "/var/lib/godwit/recall"
FLIPS_MAX, STRETCH_MAX = 1000, 1 << 20


def store(lab, host):
    """A host's folder of recall, as the machine sees it."""
    return Path(lab.folder, "places", host, "lib-godwit", "recall")


def told(lab, host):
    """What `godwit host show` tells of recall."""
    return lab.godwit_json("host", "show", host).get("recall") or {}


def wait_active(lab, *hosts):
    """Waits until recall is in use on these hosts."""
    for host in hosts:
        wait_until(lambda where=host: told(lab, where).get("active"), f"recall is in use on {host}", 30, every=0.2)


def clear(lab):
    """`godwit recall clear` on all hosts."""
    done = lab.godwit_json("recall", "clear")
    assert all("error" not in row for row in done["hosts"]), done


def kept(folder, *suffixes):
    """The files of a store, in order of their names."""
    return sorted(p for p in folder.iterdir() if p.is_file() and p.stat().st_size and (not suffixes or p.suffix in suffixes))


# A guest's memory


def memory_right(lab, name, total=None, timeout=120):
    """Waits for a whole round of the guest's checks that begins now; all must be right, and the still memory's sum `total`, if it is told. Gives the witness."""
    begun = wait_until(lambda: (w := lab.witness(name))["memory_pages"] and w, f"{name}, made with --dirty and --still, tells of its memory", 30, every=0.5)
    result = wait_until(lambda: (w := lab.witness(name, disk=True))["memory_rounds"] >= begun["memory_rounds"] + 2 and w, f"{name} has checked its memory", timeout, every=1)
    assert result["ok"] and result["boots"] == 1 and result["memory_wrong"] == 0, result
    assert total in (None, result["memory_sum"]), f"{name}: sum {result['memory_sum']}, not {total}"
    return result


# Damage to files


def pick(folder, chance, *suffixes):
    """A file by chance, or None."""
    files = kept(folder, *suffixes)
    return chance.choice(files) if files else None


def flip(folder, chance, *suffixes):
    """Some bits of a file are flipped."""
    path = pick(folder, chance, *suffixes)
    if not path:
        return None
    data, count = bytearray(path.read_bytes()), int(FLIPS_MAX ** chance.random())
    for _ in range(count):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return f"{count} bits flipped in {path.name}"


def flip_pages(folder, chance):
    return flip(folder, chance, ".pages")


def flip_index(folder, chance):
    return flip(folder, chance, ".index")


def cut(folder, chance):
    path = pick(folder, chance)
    if not path:
        return None
    size = path.stat().st_size
    os.truncate(path, chance.randrange(size))
    return f"{path.name} cut from {size} to {path.stat().st_size} bytes"


def lengthen(folder, chance):
    path = pick(folder, chance)
    if not path:
        return None
    count = chance.randrange(1, STRETCH_MAX)
    with path.open("ab") as file:
        file.write(chance.randbytes(count))
    return f"{count} bytes of garbage behind {path.name}"


def garbage(folder, chance, *suffixes):
    """A whole file is replaced."""
    path = pick(folder, chance, *suffixes)
    if not path:
        return None
    path.write_bytes(chance.randbytes(path.stat().st_size))
    return f"{path.name} replaced by garbage"


def zeros(folder, chance):
    """As after a crash of the machine."""
    path = pick(folder, chance)
    if not path:
        return None
    size = path.stat().st_size
    start = chance.randrange(size)
    count = min(size - start, chance.randrange(1, STRETCH_MAX))
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(count))
    return f"{count} zeros at {start} of {path.name}"


def remove(folder, chance):
    path = pick(folder, chance)
    if not path:
        return None
    path.unlink()
    return f"{path.name} removed"


def remove_sets(folder, chance):
    gone = [path.unlink() for path in kept(folder, ".set")]
    return f"all {len(gone)} *.set removed" if gone and chance else None


def remove_all(folder, chance):
    gone = [path.unlink() for path in kept(folder)]
    return f"all {len(gone)} files removed" if gone and chance else None


def exchange(folder, chance):
    """Two files of a kind have each other's names."""
    files = kept(folder, chance.choice([".pages", ".index", ".set"]))
    if len(files) < 2:
        return None
    one, other = chance.sample(files, 2)
    spare = folder / "spare"
    one.rename(spare)
    other.rename(one)
    spare.rename(other)
    return f"{one.name} and {other.name} exchanged"


def no_file(folder, chance):
    """Something else has a file's name."""
    path, kind = pick(folder, chance), chance.choice(["a folder", "a FIFO", "a link"])
    if not path:
        return None
    path.unlink()
    if kind == "a folder":
        path.mkdir()
    elif kind == "a FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to("/etc/hostname")
    return f"{path.name} is {kind}"


def strangers(folder, chance):
    """Files that no set has."""
    names = [".set", "x.pages", f"{chance.getrandbits(128):032x}.set", "00000000-0000-4000-8000-000000000000.set"]
    for name in names:
        (folder / name).write_bytes(chance.randbytes(100))
    return f"{len(names)} foreign files"


OF_FILES = [flip_pages, flip_index, flip, cut, lengthen, garbage, zeros, remove, remove_sets, remove_all, exchange, no_file, strangers]


# Damage to the folder


def restart(lab, host):
    """godwitd opens the folder anew."""
    lab.godwitd("stop", host)
    lab.godwitd("start", host)
    wait_connected(lab)


@contextlib.contextmanager
def read_only(lab, host):
    """Nobody can make, change the name of or remove files meanwhile."""
    lab.on(host, "chattr", "+i", STORE)
    try:
        yield
    finally:
        lab.on(host, "chattr", "-i", STORE)


@contextlib.contextmanager
def small_disk(lab, host):
    """The folder is on a file system of 8 MiB meanwhile, empty at first."""
    lab.on(host, "mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "recall", STORE)
    restart(lab, host)
    try:
        yield
    finally:
        lab.on(host, "umount", "-l", STORE)
        restart(lab, host)
        wait_active(lab, host)


@contextlib.contextmanager
def no_folder(lab, host):
    """Removed under a running godwitd, which makes it anew when it starts."""
    shutil.rmtree(store(lab, host))
    try:
        yield
    finally:
        restart(lab, host)
        wait_active(lab, host)


OF_FOLDER = {read_only: "the folder is read-only", small_disk: "the folder is on a full disk", no_folder: "the folder was removed"}
FOLDER_PART = 0.12      # so often the whole folder


def damage(lab, host, chance, undo):
    """Damages the store of a host by chance; what must be put right is pushed on `undo`. Says what it did."""
    if chance.random() < FOLDER_PART:
        how = chance.choice(list(OF_FOLDER))
        undo.enter_context(how(lab, host))
        return OF_FOLDER[how]
    return chance.choice(OF_FILES)(store(lab, host), chance) or "nothing there to damage"
