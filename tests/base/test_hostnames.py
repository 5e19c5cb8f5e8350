from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsnet.base.hostnames import sanitize_hostname


@pytest.mark.parametrize(
    ("name", "label"),
    [  # what Go's dnsname.SanitizeHostname of tailscale.com v1.102.5 makes of them
        ("shop", "shop"),
        ("My_App", "my-app"),
        ("x86_64-linux", "x86-64-linux"),
        ("Bob's Laptop.local", "bobs-laptop"),
        ("Bob’s", "bobs"),
        ("shop.lan", "shop"),
        ("x.local.lan", "x-local"),
        ("x.lan.local", "x"),
        ("a.b", "a-b"),
        ("-a", "a"),
        ("a-", "a"),
        ("a/b+c", "abc"),
        ("a ä b", "a--b"),
        ("_.a@b._", "a-b"),
        ("éa_b", "a-b"),
        ("runner-" + "a" * 61, "runner-" + "a" * 56),
        ("a" * 63 + "_b", "a" * 63),
        ("a" * 62 + "_bb", "a" * 62),
        ("é" * 34 + "ab", ""),
        ("ä", ""),
        ("___", ""),
        ("", ""),
    ],
)
def test_names_become_labels_as_in_go(name: str, label: str) -> None:
    assert sanitize_hostname(name) == label


@given(st.text(max_size=80))
def test_whatever_it_is_a_label_or_nothing_comes_of_it(name: str) -> None:
    label = sanitize_hostname(name)
    assert label == "" or re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label)
    assert sanitize_hostname(label) == label


def test_a_lone_surrogate_is_dropped() -> None:
    assert sanitize_hostname("a\udcffb") == "ab"
