# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the lab tests.

lab         the standard lab with Godwit: 2 hosts, datastore in a folder; one for the whole session
bare_lab    the same without Godwit; one per test module
make_lab    make_lab(hosts=3, storage='iscsi', …): more labs, ended with the module
vm          vm('web', dirty=20): a VM in `lab`, gone after the test
guest       a VM in `lab`, the same for all tests, and the lab in order before and after each
"""
import os

import pytest

from labkit import Lab, new_name
from movekit import Guest, put_right


def _new_lab():
    if os.geteuid() != 0:
        pytest.skip("the lab makes namespaces and so needs root")
    return Lab(new_name())


@pytest.fixture(scope="module")
def make_lab():
    """Starts labs as wanted; each is ended with the module."""
    labs = []

    def make(**options):
        new = _new_lab()
        labs.append(new)
        return new.up(**options)

    yield make
    for one in labs:
        one.down()


@pytest.fixture(scope="session")
def lab():
    """The standard lab with Godwit."""
    new = _new_lab()
    try:
        yield new.up()
    finally:
        new.down()


@pytest.fixture(scope="module")
def bare_lab(make_lab):
    """Two hosts without Godwit."""
    return make_lab(bare=True)


@pytest.fixture
def vm(lab):
    """Makes VMs in the standard lab that are gone after the test."""
    names = []

    def make(name, **options):
        made = lab.vm(name, **options)
        names.append(name)
        return made

    yield make
    for name in names:
        lab.destroy(name)


def _guest_in_order(lab, name):
    """The guest, made anew if it is not there or a test has left it in disorder."""
    known = lab.status()["vms"].get(name)
    if known:
        result = lab.witness(name, disk=True)
        if result["ok"] and result["boots"] == 1 and list(known["domains"].values()) == ["running"]:
            lab.reset(name)
            return Guest(lab, name)
        lab.destroy(name)
    lab.vm(name, memory=256, dirty=5)
    return Guest(lab, name)


@pytest.fixture
def guest(lab):
    """A VM that may be on either host."""
    yield _guest_in_order(lab, "web")
    put_right(lab)
