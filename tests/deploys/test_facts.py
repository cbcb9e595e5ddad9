"""What each fact makes of the output of hosts, and what its command says on a real one: this machine."""

from __future__ import annotations

import getpass
import hashlib
import ipaddress
import os
import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import FactBase

from cvat_analytics.connect import volumes
from deploys import facts
from deploys.facts import FileState, HostState, Offer, SchemaState, UnitState
from tests.missing import give_up

DEBIAN = """os_id=debian
os_version=12
os_name=Debian GNU/Linux 12 (bookworm)
architecture=arm64
memory=4123168768
free_disk=107374182400
volume=clickhouse 26214400 4096 52428800 64769
volume=vector 26214400 4096 52428800 64769
cpu_flags= fp asimd evtstrm aes crc32
uid=0
systemd=yes
package=clickhouse-server 26.8.19.9 installed
package=vector 0.57.0-1 config-files
package=grafana 13.2.3 half-configured
package=nginx  not-installed
listener=0.0.0.0:8123 users:(("clickhouse-serv",pid=77,fd=3),("clickhouse-serv",pid=78,fd=3))
listener=127.0.0.53%lo:53 users:(("systemd-resolve",pid=301,fd=14))
listener=*:9000 users:(("nginx:
listener=[::1]:8123\x20
listener=[::]:2049\x20
address=127.0.0.1
address=10.0.0.5
address=fe80::fc:ff:fe00:1
takes_any_address=yes
first_open_port=80
lowers_nice=yes"""
HOST = HostState(
    os_id="debian",
    os_version="12",
    os_name="Debian GNU/Linux 12 (bookworm)",
    architecture="arm64",
    memory=4123168768,
    free_disk=107374182400,
    cpu_flags=frozenset({"fp", "asimd", "evtstrm", "aes", "crc32"}),
    is_root=True,
    has_systemd=True,
    store_in_use=False,
    gateway_runs=False,
    packages={"clickhouse-server": "26.8.19.9"},
    volumes=("clickhouse 26214400 4096 52428800 64769", "vector 26214400 4096 52428800 64769"),
    listeners={8123: "clickhouse-serv", 53: "systemd-resolve", 9000: "nginx:", 2049: ""},
    addresses=frozenset({"127.0.0.1", "10.0.0.5", "fe80::fc:ff:fe00:1"}),
    takes_any_address=True,
    first_open_port=80,
    lowers_nice=True,
)
# no Debian, no systemd, somebody who is not root; a name with an equals sign; no ss, no dpkg
BARE = "os_id=\nos_version=\nos_name=Own=Linux\narchitecture=x86_64\nuid=1000\nstore_in_use=yes\ngateway_runs=yes"
KEYS = """pub:-:4096:1:8919F6BD2B48D754:1467632010:::-:::scSC::::::23::0:
fpr:::::::::3A9EA1193A97B548BE1457D48919F6BD2B48D754:
uid:-::::1467632010::F1B5::ClickHouse Inc Repositories Key <packages@clickhouse.com>::::::::::0:
sub:-:4096:1:3E4AD4719DDE9A38:1467632010::::::e::::::23:
fpr:::::::::DCC55E5D4CEE0E0AFB7BFA4C3E4AD4719DDE9A38:
pub:-:255:22:963FA27710458545:1692690000:::-:::scESC:::::ed25519:::0:
fpr:::::::::B53AE77BADB630A683046005963FA27710458545:"""
UNIT = "ActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\napplied=5f0c"


@pytest.mark.parametrize(
    ("fact", "output", "expected"),
    [
        pytest.param(facts.Host(), DEBIAN, HOST, id="Host-debian"),
        pytest.param(
            facts.Host(),
            BARE,
            HostState("", "", "Own=Linux", "x86_64", 0, 0, frozenset(), False, False, True, True, {}, (), {}),
            id="Host-bare",
        ),
        pytest.param(
            facts.PackageVersions(),
            "vector 0.58.0-1 installed\ngrafana 13.2.3 config-files\nnginx  not-installed",
            {"vector": "0.58.0-1"},
            id="PackageVersions",
        ),
        pytest.param(facts.PackageVersions(), "", {}, id="PackageVersions-none"),
        pytest.param(
            facts.KeyFingerprints(),
            KEYS,
            ["3A9EA1193A97B548BE1457D48919F6BD2B48D754", "B53AE77BADB630A683046005963FA27710458545"],
            id="KeyFingerprints",
        ),
        pytest.param(facts.KeyFingerprints(), "", [], id="KeyFingerprints-none"),
        pytest.param(facts.UnpackedDigest(), "9a3b", "9a3b", id="UnpackedDigest"),
        pytest.param(facts.UnpackedDigest(), "", "", id="UnpackedDigest-none"),
        pytest.param(
            facts.PackageOffer(),
            "offers vector 0.58.0-1\noffers vector 0.57.0-1\noffers grafana 13.2.3",
            Offer({"vector": ["0.58.0-1", "0.57.0-1"], "grafana": ["13.2.3"]}),
            id="PackageOffer",
        ),
        pytest.param(facts.PackageOffer(), "", Offer({}), id="PackageOffer-none"),
        pytest.param(
            facts.PackageOffer(),
            "error E: The repository 'https://packages.example stable InRelease' is not signed.",
            Offer({}, "E: The repository 'https://packages.example stable InRelease' is not signed."),
            id="PackageOffer-error",
        ),
        pytest.param(
            facts.PackageOffer(), "error ", Offer({}, "apt-get failed and said nothing"), id="PackageOffer-silent"
        ),
        pytest.param(
            facts.Files(),
            "e3b0 644 root root 0 /etc/a\n9a3b 4755 vector adm 1793000000 /etc/b c/d  e",
            {
                "/etc/a": FileState("e3b0", "644", "root", "root"),
                "/etc/b c/d  e": FileState("9a3b", "4755", "vector", "adm"),
            },
            id="Files",
        ),
        pytest.param(facts.Existing(), "/etc/a\n/opt/b c", ["/etc/a", "/opt/b c"], id="Existing"),
        pytest.param(facts.FileText(), "one\n\nthree", "one\n\nthree\n", id="FileText"),
        pytest.param(facts.DirectoryEntries(), ".hidden\na b", [".hidden", "a b"], id="DirectoryEntries"),
        pytest.param(facts.DirectoryEntries(), "", [], id="DirectoryEntries-none"),
        pytest.param(facts.Unit(), UNIT, UnitState(True, True, False, "5f0c"), id="Unit"),
        pytest.param(
            facts.Unit(),
            "ActiveState=activating\nUnitFileState=\nNeedDaemonReload=yes\napplied=",
            UnitState(False, False, True, ""),
            id="Unit-starting",
        ),
        pytest.param(facts.Unit(), "applied=", UnitState(False, False, False, ""), id="Unit-no-systemd"),
        pytest.param(
            facts.Schema(),
            "events\tReplacingMergeTree TTL x\\'\\t\nweird name\t\napplied\ninit.sql\t9a3b\nrule\nthreshold_ms\t100000",
            SchemaState(
                {"init.sql": "9a3b"},
                {"events": "ReplacingMergeTree TTL x\\'\\t", "weird name": ""},
                {"threshold_ms": "100000"},
            ),
            id="Schema",
        ),
        pytest.param(
            facts.Schema(), "applied\ninit.sql\t9a3b", SchemaState({"init.sql": "9a3b"}, {}, {}), id="Schema-no-rule"
        ),
        # a database that is empty answers to the first question only, and that one is no ledger
        pytest.param(facts.Schema(), "events\tMergeTree", None, id="Schema-no-ledger"),
        pytest.param(facts.Schema(), "", None, id="Schema-away"),
        pytest.param(
            facts.Answer(), "202601\t12\n202602\t\n-- answered", [["202601", "12"], ["202602", ""]], id="Answer"
        ),
        pytest.param(facts.Answer(), "-- answered", [], id="Answer-no-rows"),
        pytest.param(facts.Answer(), "202601\t12", None, id="Answer-broken-off"),
        pytest.param(facts.Answer(), "", None, id="Answer-away"),
    ],
)  # fmt: skip
def test_an_output_is_read(fact: FactBase[Any], output: str, expected: object) -> None:
    assert fact.process(output.splitlines()) == expected


def test_every_fact_is_tested_here() -> None:
    own = {
        name
        for name, value in vars(facts).items()
        if isinstance(value, type) and issubclass(value, FactBase) and value is not FactBase
    }
    tested = {
        parameters.values[0].__class__.__name__ for parameters in test_an_output_is_read.pytestmark[0].args[1]
    }
    assert own == tested


def asked(fact: FactBase[Any], *arguments: Any) -> Any:
    """Return what the fact knows of this machine."""
    command = fact.command(*arguments)
    done = subprocess.run(["sh", "-c", str(command)], capture_output=True, text=True, check=True)
    return fact.process(done.stdout.splitlines())


def need(program: str, package: str) -> None:
    if not shutil.which(program):
        give_up(f"{program} is needed: it is in the package {package} of Debian and Ubuntu")


def test_a_host_is_described() -> None:
    need("dpkg-query", "dpkg")
    known = ["bash", "no-such-package", *never_installed()]
    host: HostState = asked(facts.Host(), known)
    assert host.os_name == platform.freedesktop_os_release()["PRETTY_NAME"]
    assert host.is_root == (os.getuid() == 0)
    assert host.memory > 2**28
    assert host.free_disk > 0
    names = [name for each in volumes.parsed("here", host.volumes, 1) for name in each.components]
    assert sorted(names) == sorted(volumes.DIRECTORIES)
    assert host.cpu_flags
    assert host.packages == asked(facts.PackageVersions(), known)
    assert list(host.packages) == ["bash"]


def never_installed() -> list[str]:
    """Return a package that dpkg knows from others' relations only, if there is one: it has no version."""
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", "*"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.split()[0] for line in done.stdout.splitlines() if line.endswith(" not-installed")][:1]


def test_a_port_in_use_is_seen() -> None:
    need("ss", "iproute2")
    with socket.create_server(("127.0.0.1", 0)) as server:
        host: HostState = asked(facts.Host(), ["bash"])
        assert server.getsockname()[1] in host.listeners


def test_the_addresses_of_a_host_are_all_that_it_has() -> None:
    need("ip", "iproute2")
    host: HostState = asked(facts.Host(), ["bash"])
    assert "127.0.0.1" in host.addresses
    for address in host.addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as listener:
            if not ipaddress.ip_address(address).is_link_local:  # which says nothing without its interface
                listener.bind((address, 0))
    assert host.first_open_port == int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())


def test_files_and_directories_are_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "it's a $file"
    file.write_text("one\n\ntwo\n")
    file.chmod(0o640)
    os.utime(file, (1793000000, 1793000000))
    (tmp_path / ".hidden").mkdir()
    gone = str(tmp_path / "gone")
    seen = asked(facts.Files(), [str(file), gone, str(tmp_path)])
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert seen == {str(file): FileState(digest, "640", getpass.getuser(), file.group())}
    assert seen[str(file)].seconds == 1793000000
    assert asked(facts.FileText(), str(file)) == "one\n\ntwo\n"
    assert asked(facts.DirectoryEntries(), str(tmp_path)) == [".hidden", file.name]
    assert asked(facts.DirectoryEntries(), gone) == []
    assert asked(facts.UnpackedDigest(), str(file), str(tmp_path)) == "onetwo"
    assert asked(facts.UnpackedDigest(), str(file), gone) == ""
    assert asked(facts.KeyFingerprints(), str(file)) == []


@pytest.mark.parametrize(("answer", "expected"), [("printf '1\\t2\\n'", [["1", "2"]]), ("false", None)])
def test_an_answer_that_does_not_come_is_none(tmp_path: Path, answer: str, expected: object) -> None:
    client = tmp_path / "client"
    client.write_text(f'#!/bin/sh\ngrep -q "it\'s FORMAT TSVRaw" && {answer}\n')
    client.chmod(0o755)
    command = facts.Answer().command(str(client), "it's")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert facts.Answer().process(done.stdout.splitlines()) == expected


def test_what_no_host_answered_is_a_value_too() -> None:
    assert facts.PackageOffer.default() == Offer({}, "the host did not answer")
    assert facts.Unit.default() == UnitState(False, False, False, "")
    assert (facts.Host.default(), facts.Schema.default(), facts.Answer.default()) == (None, None, None)


def test_whether_a_nice_value_may_be_lowered_is_tried() -> None:
    """As root that may be so; of a root without CAP_SYS_NICE, as in some containers, and of anybody else it is not."""
    fact = facts.Host()

    def lowers_nice(*runner: str) -> bool:
        told = subprocess.run(
            [*runner, "sh", "-c", fact.command([])], capture_output=True, text=True, check=True
        )
        state = fact.process(told.stdout.splitlines())
        assert state
        return state.lowers_nice

    # asked of the kernel itself: to have the capability is not enough where users are a container's own (user_namespaces(7))
    tried = "import os, resource; resource.setrlimit(resource.RLIMIT_NICE, (0, 0)); os.setpriority(os.PRIO_PROCESS, 0, -20)"
    allowed = subprocess.run([sys.executable, "-c", tried], check=False, capture_output=True).returncode == 0
    assert lowers_nice() == allowed
    if allowed:
        assert not lowers_nice("setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice")
