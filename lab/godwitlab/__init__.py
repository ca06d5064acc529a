# SPDX-License-Identifier: Apache-2.0
"""Hosts on one machine: see lab/README.md."""
