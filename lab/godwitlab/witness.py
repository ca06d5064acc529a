# SPDX-License-Identifier: Apache-2.0
"""What the observer's log and a guest's disk prove.

A guest that runs once counts upwards. In the order in which its datagrams reached the switch:

    doubled    the same counter was heard twice, from one place or two; or a boot of the guest was
               heard after a later one: two copies ran, or one was rolled back
    gone_back  a counter lower than one heard before, not heard yet, and not explained by `late`
    late       the last datagrams of the old place overtaken by the first of the new one: heard
               within LATE_MS after the place changed. Two copies would also repeat counters
    lost       counters never heard between the first and the last of a boot
    boots      how often the guest started in the time looked at; more than once: it crashed
    memory_wrong  checks of a page by the guest itself that failed: memory was lost, mixed up or set
               back. It and the other memory_* count since the guest's boot, whatever was reset
    fsynced_missing  pairs (sequence, counter) the guest reported as safely written that are not
                     on its disk
"""
import os

from .base import LabError, read_file, read_json
from .records import (LOG, MEMORY_LOG, RING_OFFSET, RING_SLOTS, SECTOR_BYTES, SLOT, SLOT_MAGIC)

LATE_MS = 50
GAP_LISTED_MS = 20
LISTED_MAX = 100
MS = 1_000_000


class Analysis:
    """Fed with log records in order; result() tells."""

    def __init__(self, places):
        self.places = places
        self.received = self.doubled = self.gone_back = self.late = self.lost = 0
        self.boots, self.boot, self.seen, self.highest, self.lowest = [], None, set(), 0, 0
        self.first = self.last = self.place = None
        self.changed_ns = 0
        self.longest_ns, self.gaps, self.gap_count, self.moves = 0, [], 0, []
        self.heard_at, self.offsets, self.synced = {}, [], {}

    def add(self, record):
        """Takes the next record."""
        at, place, boot, counter, sequence, synced, realtime, _ = record
        self.received += 1
        self._order(at, place, boot, counter)
        self._time(at, place)
        if boot == self.boot and sequence:
            self.synced[sequence] = synced
        offset = realtime - at
        self.offsets = [self.offsets[0] if self.offsets else offset, offset]
        self.last, self.place = at, place

    def _order(self, at, place, boot, counter):
        if boot != self.boot:
            if boot in self.boots:
                self.doubled += 1
                return
            self._close_boot()
            self.boots.append(boot)
            self.boot, self.seen, self.highest, self.lowest = boot, set(), counter - 1, counter
            self.synced = {}
        if counter in self.seen:
            self.doubled += 1
        elif counter < self.highest:
            if self.moves and at - self.changed_ns < LATE_MS * MS:
                self.late += 1
            else:
                self.gone_back += 1
        self.seen.add(counter)
        self.highest, self.lowest = max(self.highest, counter), min(self.lowest, counter)

    def _close_boot(self):
        if self.seen:
            self.lost += self.highest - self.lowest + 1 - len(self.seen)

    def _time(self, at, place):
        name = self.places[place]
        self.heard_at[name] = self.heard_at.get(name, 0) + 1
        if self.last is None:
            self.first = at
            return
        gap = at - self.last
        self.longest_ns = max(self.longest_ns, gap)
        before = self.places[self.place]
        at_ms = round((self.last - self.first) / MS, 1)
        if name != before:
            self.changed_ns = at
            self.moves.append({"at_ms": at_ms, "from": before, "to": name,
                               "gap_ms": round(gap / MS, 2)})
        if gap >= GAP_LISTED_MS * MS:
            self.gap_count += 1
            self.gaps.append({"at_ms": at_ms, "gap_ms": round(gap / MS, 2),
                              "from": before, "to": name})
            if len(self.gaps) > LISTED_MAX:     # the longest are kept
                self.gaps.remove(min(self.gaps, key=lambda g: g["gap_ms"]))

    def result(self, now_ns):
        """The findings, as `lab witness` prints them."""
        self._close_boot()
        drift = (self.offsets[-1] - self.offsets[0]) / MS if self.offsets else 0
        return {
            "received": self.received, "lost": self.lost, "doubled": self.doubled,
            "gone_back": self.gone_back, "late": self.late, "boots": len(self.boots),
            "longest_gap_ms": round(self.longest_ns / MS, 2),
            "longest_switch_ms": max((m["gap_ms"] for m in self.moves), default=None),
            "gaps_over_20ms": self.gap_count, "gaps": self.gaps,
            "place": self.places[self.place] if self.place is not None else None,
            "places": self.heard_at, "moves": self.moves[-LISTED_MAX:],
            "seconds": round((self.last - self.first) / 1e9, 2) if self.first else 0,
            "silent_ms": round((now_ns - self.last) / MS, 1) if self.last else None,
            "guest_clock_drift_ms": round(drift, 2),
        }


def records(lab, name, since_ns=0):
    """The log's records, oldest first."""
    for suffix in [".old", ".log"]:
        path = lab.path("witness", name + suffix)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            continue
        for record in LOG.iter_unpack(data[:len(data) // LOG.size * LOG.size]):
            if record[0] >= since_ns:
                yield record


def memory(lab, name, started_ns):
    """What the guest told last of the checks of its memory."""
    last = _last(lab.path("witness", name + ".memory.log"), MEMORY_LOG)
    if not last or last[0] < started_ns:
        return {"memory_pages": 0, "memory_checked": 0, "memory_rounds": 0, "memory_wrong": 0,
                "memory_sum": None}
    pages, checked, rounds, wrong, total, page, carries, expected = last[3:]
    told = {"memory_pages": pages, "memory_checked": checked, "memory_rounds": rounds,
            "memory_wrong": wrong, "memory_sum": f"{total:016x}" if total else None}
    if wrong:
        told["memory_last_wrong"] = {"page": page, "carries": carries, "expected": expected}
    return told


def last_heard_ns(lab, name):
    """When the witness was last heard; 0 if never."""
    last = _last(lab.path("witness", name + ".log"), LOG)
    return last[0] if last else 0


def _last(path, layout):
    """The last record of a log, or None."""
    try:
        size = os.path.getsize(path) // layout.size * layout.size
        with open(path, "rb") as file:
            file.seek(max(0, size - layout.size))
            return layout.unpack(file.read(layout.size)) if size else None
    except FileNotFoundError:
        return None


def missing_on_disk(path, boot, synced):
    """How many of the reported pairs {sequence: counter} of a boot are not in the disk's ring."""
    try:
        with open(path, "rb") as disk:
            disk.seek(RING_OFFSET)
            ring = disk.read(RING_SLOTS * SECTOR_BYTES)
    except OSError as error:
        raise LabError(f"can't read the witness's disk {path}: {error.strerror}") from None
    missing = 0
    for sequence, counter in synced.items():
        at = sequence % RING_SLOTS * SECTOR_BYTES
        found = SLOT.unpack_from(ring, at) if at + SLOT.size <= len(ring) else (b"", 0, 0, 0)
        same_boot = found[0] == SLOT_MAGIC and found[1] == boot
        overwritten = same_boot and found[2] > sequence
        missing += not (overwritten or same_boot and found[2:] == (sequence, counter))
    return missing


def analyse(lab, name, now_ns, since_start=False, disk=None):
    """The whole result for one guest; disk is the path of its witness disk, or None."""
    started, reset = (int(read_file(lab.path("witness", name + suffix), "0"))
                      for suffix in [".start", ".since"])
    since = started if since_start else max(started, reset)
    places = read_json(lab.path("witness", "places.json"), [])
    analysis = Analysis(places)
    for record in records(lab, name, since):
        analysis.add(record)
    result = {"vm": name, **analysis.result(now_ns), **memory(lab, name, started)}
    result["observer_dropped"] = read_json(lab.path("witness", "drops.json"), {}).get("dropped", 0)
    if disk:
        result["fsynced_reported"] = len(analysis.synced)
        result["fsynced_missing"] = missing_on_disk(disk, analysis.boot, analysis.synced)
    bad = result["doubled"] + result["gone_back"] + result.get("fsynced_missing", 0)
    bad += result["memory_wrong"]
    # A guest that starts anew by itself has crashed; after a wanted reboot one uses --reset.
    result["ok"] = bad == 0 and result["boots"] == 1
    return result
