"""The memory limit of the process that enhances photos, and how it is divided."""

import contextlib
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from ..errors import UserError

# GB that the process takes before any photo, mostly for TensorFlow, which reads the models.
BASE = 0.8
# Share of the rest for photos that are read, written and enhanced at the same time. With a limit of
# 1.5 GB, it is enough for two photos of 12 megapixels: one is read, the other is enhanced.
PHOTOS_SHARE = 0.45
# Most bytes that reading, enhancing and writing a photo take, for each byte of its pixels.
COPIES = 4


def memory_limit(wanted: str | float) -> float:
    """The limit on the memory of the process, in GB.

    Args:
        wanted: a number of GB, or `"auto"`: half of the memory that is available now.

    Raises:
        UserError: for anything else, or for less than 0.1 GB.
    """
    if wanted == "auto":
        return available_memory() / 2e9
    try:
        limit = float(wanted)
    except ValueError:
        limit = 0.0
    if not 0.1 <= limit < math.inf:
        raise UserError(f"memory_limit={wanted}: expected auto, or GB of at least 0.1")
    return limit


def available_memory() -> float:
    """Bytes that this process can still get, from the system or within its control group."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":") for line in lines)
        found = float(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # not Linux
        found = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min([found, *_group_rooms()])


# Control groups of version 2, and of version 1: their folder, the controller's name in
# /proc/self/cgroup, the files with the limit and with the used memory, and, in memory.stat, the
# name of the memory that can be freed.
GROUPS = (
    ("/sys/fs/cgroup", "", "memory.max", "memory.current", "inactive_file"),
    (
        "/sys/fs/cgroup/memory",
        "memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def _group_rooms(membership: str = "/proc/self/cgroup") -> list[float]:
    """Bytes that are left within the limits of this process's control group and its parents."""
    try:
        lines = Path(membership).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    groups = {name: path for _, name, path in (line.split(":", 2) for line in lines)}
    found = []
    for root, name, limit, usage, reclaimable in GROUPS:
        folder = Path(root, groups.get(name, "/").lstrip("/"))
        for group in (folder, *folder.parents):
            if not group.is_relative_to(root):
                break
            try:
                most = float((group / limit).read_text(encoding="ascii"))
                used = float((group / usage).read_text(encoding="ascii"))
                stat = (group / "memory.stat").read_text(encoding="ascii").splitlines()
            except (OSError, ValueError):  # No such group here, or no limit.
                continue
            spare = dict(line.split() for line in stat).get(reclaimable, "0")
            found.append(max(0.0, most - used + float(spare)))
    return found


def room_of_photos(limit: float) -> float:
    """Bytes for photos in memory, within a limit in GB on the process."""
    return PHOTOS_SHARE * (limit - BASE) * 1e9


def room_of_pass(limit: float, size: float) -> float:
    """Bytes for a network's pass over a photo, or a part of it.

    Args:
        limit: GB that the process may hold.
        size: bytes of the photo's pixels; the result takes as many.
    """
    return (limit - BASE) * 1e9 - max(room_of_photos(limit), 2 * size)


def limit_needed(size: float, room: float) -> float:
    """The limit in GB within which a pass over a photo of `size` bytes has `room` bytes."""
    return BASE + max(room / (1 - PHOTOS_SHARE), room + 2 * size) / 1e9


def limit_of_photo(size: float) -> float:
    """The limit in GB within which a photo of `size` bytes can be read and written."""
    return BASE + COPIES * size / 1e9


class Budget:
    """A number of bytes that threads share. A thread that wants more than is left must wait.

    If no other thread has a part, a thread gets any number. So a very large photo is worked on
    alone. At the end of a `with` block, all threads get what they want, so that none waits forever.

    Args:
        size: number of bytes.
    """

    def __init__(self, size: float):
        self.size = size
        self.held = 0.0
        self.changed = threading.Condition()

    def take(self, amount: float) -> None:
        """Waits until `amount` bytes are free, or nobody else has any, and takes them."""
        with self.changed:
            self.changed.wait_for(lambda: not self.held or self.held + amount <= self.size)
            self.held += amount

    def give_back(self, amount: float) -> None:
        """Gives back what was taken."""
        with self.changed:
            self.held -= amount
            self.changed.notify_all()

    @contextlib.contextmanager
    def share(self, amount: int) -> Iterator[contextlib.ExitStack]:
        """A context in which `amount` bytes are taken. `pop_all` keeps them after its end."""
        self.take(amount)
        with contextlib.ExitStack() as held:
            held.callback(self.give_back, amount)
            yield held

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self.changed:
            self.size = math.inf
            self.changed.notify_all()
