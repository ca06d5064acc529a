# SPDX-License-Identifier: Apache-2.0
"""Layouts: the witness's datagram and disk slot (lab/guest/witness.c), the observer's log."""
import struct

PORT = 7707
DATAGRAM = struct.Struct("<4s4x32s6Q")
DATAGRAM_MAGIC = b"GWW1"
MEMORY_DATAGRAM = struct.Struct("<4s4x32s9Q")
MEMORY_MAGIC = b"GWM1"
SLOT = struct.Struct("<4s4x3Q")         # magic, boot, sequence, counter
SLOT_MAGIC = b"GWD1"
SECTOR_BYTES = 512
RING_SLOTS = 65536
RING_OFFSET = 1024 * 1024
DISK_MB = 64

# One received datagram: kernel's receive time, place (index), boot, counter, synced sequence,
# synced counter, the guest's realtime and monotonic clocks. Times in nanoseconds.
LOG = struct.Struct("<QB7xQQQQQQ")
# The same of a datagram about memory: boot, and then as struct memory_found in lab/guest/memory.h.
MEMORY_LOG = struct.Struct("<QB7x9Q")
LOG_BYTES_MAX = 48 * 1024 * 1024        # about two hours; then it becomes NAME.old
