"""SOAP: what is called, and what comes back."""

from __future__ import annotations

import contextlib
import random

import pytest

from tests.fuzzing import mutated
from tests.portmap.router import KIND, between, soap_answer, soap_fault
from tsnet.base.malformed import MalformedError
from tsnet.portmap.elements import read_elements
from tsnet.portmap.soap import SoapFault, add_mapping, decode_result, delete_mapping, external_address


def test_adding_a_mapping() -> None:
    call = add_mapping(KIND, 6000, 41641, "192.168.7.20", 7200, any_port=False)
    assert call.headers == (
        ("Content-Type", 'text/xml; charset="utf-8"'),
        ("SOAPAction", f'"{KIND}#AddPortMapping"'),
    )
    assert read_elements(call.encode()) == [
        *(
            (("Envelope", "Body", "AddPortMapping", name), value)
            for name, value in {
                "NewRemoteHost": "",
                "NewExternalPort": "6000",
                "NewProtocol": "UDP",
                "NewInternalPort": "41641",
                "NewInternalClient": "192.168.7.20",
                "NewEnabled": "1",
                "NewPortMappingDescription": "tsnet",
                "NewLeaseDuration": "7200",
            }.items()
        ),
        (("Envelope", "Body", "AddPortMapping"), ""),
        (("Envelope", "Body"), ""),
        (("Envelope",), ""),
    ]
    assert f'xmlns:u="{KIND}"' in call.encode().decode()


def test_the_other_calls() -> None:
    assert add_mapping(KIND, 1, 2, "x", 0, any_port=True).action == "AddAnyPortMapping"
    deleted = delete_mapping(KIND, 6000).encode().decode()
    assert (between(deleted, "NewExternalPort"), between(deleted, "NewProtocol")) == ("6000", "UDP")
    assert external_address(KIND).arguments == ()


def test_a_result() -> None:
    body = soap_answer("GetExternalIPAddress", NewExternalIPAddress="203.0.113.5", Other="").encode()
    assert decode_result(200, body, "GetExternalIPAddress") == {"NewExternalIPAddress": "203.0.113.5", "Other": ""}
    assert decode_result(200, soap_answer("DeletePortMapping").encode(), "DeletePortMapping") == {}


@pytest.mark.parametrize(("body", "code"), [(soap_fault(725), 725), (soap_fault(0), 0), ("<a/>", 0)])
def test_a_fault(body: str, code: int) -> None:
    with pytest.raises(SoapFault) as caught:
        decode_result(500, body.encode(), "AddPortMapping")
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, soap_answer("AddPortMapping")),
        (302, soap_answer("AddPortMapping")),
        (200, soap_answer("DeletePortMapping")),
        (200, ""),
        (200, '<!DOCTYPE a [<!ENTITY b "c">]>' + soap_answer("AddPortMapping")),
    ],
)
def test_what_is_no_result(status: int, body: str) -> None:
    with pytest.raises(MalformedError):
        decode_result(status, body.encode(), "AddPortMapping")


def test_damaged_results_never_raise_anything_else() -> None:
    chance = random.Random(5)
    for text in (soap_answer("AddAnyPortMapping", NewReservedPort=6000), soap_fault(718)):
        for status in (200, 500):
            for _ in range(250):
                with contextlib.suppress(MalformedError):
                    decode_result(status, mutated(text.encode(), chance), "AddAnyPortMapping")
