from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

import tsnet
from tests.cli.conftest import Start
from tsnet.cli.tailnet import invitation
from tsnet.edge.io.store import MemoryStore
from tsnet.testing.tailnet import Tailnet


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_its_first_line_is_how_to_join(number: int, code: int, start: Start) -> None:
    process = start("tailnet", "--json", "--domain", "example.test", "--user", "ann@example.test")
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    assert line.keys() == {"control_url", "auth_key", "derp_map", "base_domain"}
    assert line["base_domain"] == "example.test"
    assert list(line["derp_map"]["Regions"]) == ["900"]
    options = {"control_url": line["control_url"], "auth_key": line["auth_key"], "ephemeral": True}
    with (
        tsnet.Server("one", state=MemoryStore(), **options) as one,
        tsnet.Server("two", state=MemoryStore(), **options) as two,  # the key is reusable
    ):
        assert one.fqdn == "one.example.test"
        peer = two.whois(str(one.addresses[0]))
        assert peer is not None
        assert peer.user_login == "ann@example.test"
        assert peer.tags == ()
    process.send_signal(number)
    assert process.wait(10) == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_with_a_state_directory_the_next_start_is_the_same_tailnet(number: int, start: Start, tmp_path: Path) -> None:
    arguments = ("tailnet", "--json", "--state-dir", str(tmp_path / "tailnet"))
    process = start(*arguments)
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    options = {"control_url": told["control_url"], "auth_key": told["auth_key"]}
    with tsnet.Server("one", state=tmp_path / "one", **options) as one:
        addresses = one.addresses
        process.send_signal(number)
        process.wait(10)
        again = start(*arguments)
        assert again.stdout is not None
        assert json.loads(again.stdout.readline()) == told
        with tsnet.Server("two", ephemeral=True, state=MemoryStore(), **options) as two:
            with two.events() as events:  # a killed one may not know yet how to reach who had just joined
                while "one" not in {peer.name for peer in two.status().peers}:
                    next(events)
            assert two.ping(str(addresses[0])).seconds < 10
            assert two.addresses[0] not in addresses
            assert one.addresses == addresses


def test_a_state_directory_that_cannot_be_used_is_an_error(start: Start, tmp_path: Path) -> None:
    (tmp_path / "tsnet.tailnet").write_bytes(b"what is this")
    refused = start("tailnet", "--state-dir", str(tmp_path))
    assert refused.wait(10) == 1
    assert refused.stderr is not None
    said = refused.stderr.read().decode()
    assert f"{tmp_path / 'tsnet.tailnet'} is damaged" in said
    assert "Traceback" not in said


def test_its_ports_are_where_one_wants_them(start: Start) -> None:
    with Tailnet() as free:  # two ports that were free a moment ago
        control, derp = (
            int(free.control_url.rpartition(":")[2]),
            free.derp_map["Regions"]["900"]["Nodes"][0]["DERPPort"],
        )
    process = start("tailnet", "--json", "--port", str(control), "--derp-port", str(derp), "--plain")
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    assert line["control_url"] == f"http://127.0.0.1:{control}"
    assert line["derp_map"]["Regions"]["900"]["Nodes"][0]["DERPPort"] == derp
    taken = start("tailnet", "--port", str(control))
    assert taken.wait(10) == 1
    assert taken.stderr is not None
    assert b"ddress already in use" in taken.stderr.read()


def test_the_invitation_can_be_pasted(tailnet: Tailnet) -> None:
    text = invitation(tailnet)
    exports = "\n".join(line for line in text.splitlines() if "export" in line)
    shell = subprocess.run(
        ["sh", "-c", f'{exports}\necho "$TS_CONTROL_URL $TS_AUTHKEY"'], capture_output=True, text=True, check=True
    )
    assert shell.stdout == f"{tailnet.control_url} {tailnet.auth_key}\n"


def test_a_key_in_a_file_is_not_shown(tailnet: Tailnet) -> None:
    text = invitation(tailnet, "/run/my key")
    assert tailnet.auth_key not in text
    assert "export TS_AUTHKEY=$(cat '/run/my key')" in text
