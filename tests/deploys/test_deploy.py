"""The whole deploy against pyinfra's fake hosts: what it runs, in which order, and what it refuses before that.

The fake hosts prove the commands and their order, not their effect: tests/hosts/ has real hosts for that.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from cvat_analytics.base.project import ROOT
from cvat_analytics.store import migrations
from deploys.facts import _ANSWERED as ANSWERED
from tests.deploys.conftest import DEBIAN_12, Deploy
from tests.releases.test_upgrade_from import RELEASES, scripts_of

THREE = {"clickhouse": ["@fake/a"], "vector": ["@fake/b"], "grafana": ["@fake/c"]}
ADDRESSES = {f"@fake/{name}": {"address": f"10.0.0.{number}"} for number, name in enumerate("abc", 1)}


def test_everything_is_installed_before_anything_is_configured_and_configured_before_anything_starts(
    run_deploy: Deploy,
) -> None:
    run = run_deploy()
    installs = [run.position(rf"install .*{name}=") for name in ("clickhouse-server", "vector", "grafana")]
    uploads = [n for n, command in enumerate(run.commands["@fake/a"]) if "base64 -d | tar" in command]
    starts = [
        run.position(f"systemctl restart {unit}")
        for unit in ("clickhouse-server", "vector", "grafana-server")
    ]
    assert installs == sorted(installs)
    assert starts == sorted(starts)
    assert max(installs) < uploads[-2] < min(starts)
    assert max(starts) < uploads[-1], "what was deployed is noted last"
    assert run.failed == set()


def test_packages_have_exact_versions_from_the_pinned_places_only(run_deploy: Deploy) -> None:
    run = run_deploy()
    (install,) = run.matching("noninteractive.*install .*clickhouse-server=")
    for name in ("clickhouse-common-static", "clickhouse-server", "clickhouse-client"):
        assert f"{name}=26.8.19.9" in install
    keys = run.matching("apt-helper")
    assert len(keys) == 3
    assert "3A9EA1193A97B548BE1457D48919F6BD2B48D754" in keys[0]


def test_vector_starts_only_after_the_schema_is_there_and_it_may_insert(run_deploy: Deploy) -> None:
    run = run_deploy()
    schema = run.position("clickhouse-client .*--database=cvat --multiquery")
    probe = run.position(r"INSERT\+INTO\+cvat\.incoming_events\+")
    start = run.position("systemctl restart vector")
    assert schema < probe < start


def test_a_service_is_marked_as_unapplied_before_its_files_change_and_as_applied_after_it_is_healthy(
    run_deploy: Deploy,
) -> None:
    run = run_deploy()
    forget = run.position("rm -f /var/lib/cvat-analytics/vector.applied")
    restart = run.position("systemctl restart vector")
    healthy = run.position("vector did not become healthy")
    remember = run.position("> /var/lib/cvat-analytics/vector.applied")
    assert forget < restart <= healthy < remember


def test_no_password_and_no_hash_of_one_is_in_a_command(run_deploy: Deploy) -> None:
    run = run_deploy()
    text = "\n".join(command for commands in run.commands.values() for command in commands)
    assert [
        name for name in run.secrets if run.secrets[name] in text or run.secrets.sha256(name) in text
    ] == []


def test_a_host_gets_only_its_own_part(run_deploy: Deploy) -> None:
    run = run_deploy(groups=THREE, host_settings=ADDRESSES)
    programs = {
        host: sorted(set(re.findall(r"systemctl restart ([\w-]+) ", "\n".join(commands))))
        for host, commands in run.commands.items()
    }
    assert programs == {
        "@fake/a": ["clickhouse-server"],
        "@fake/b": ["cvat-analytics-room", "vector"],
        "@fake/c": ["grafana-server"],
    }
    assert run.matching(r"/dev/tcp/10\.0\.0\.1/8123.*INSERT", "@fake/b")


def refusal(run_deploy: Deploy, **arguments: Any) -> str:
    with pytest.raises(PyinfraError) as caught:
        run_deploy(**arguments)
    text, codes = re.subn(r" \[CVA\d{4}\]", "", str(caught.value))
    assert codes == 1, "whatever is refused has the code of its cause"
    return text


def system(**changes: str) -> dict[str | re.Pattern[str], list[str]]:
    lines = dict(line.split("=", 1) for line in DEBIAN_12.splitlines()) | changes
    return {"os-release": [f"{key}={value}" for key, value in lines.items()]}


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            system(os_id="fedora", os_version="42", os_name="Fedora Linux 42"),
            "host @fake/a: Fedora Linux 42 is not supported. Supported are Debian 12 and 13, Ubuntu 22.04 and 24.04. Nothing has been changed",
        ),
        (system(os_version="11", os_name="Debian 11"), "host @fake/a: Debian 11 is not supported. Supported are"),
        (system(uid="1000"), "host @fake/a: commands do not run as root. Set `_sudo = True`, or log in as root"),
        (system(free_disk=str(2**30)), "host @fake/a: 1.0 GiB free below /var/lib, but 10.0 GiB are needed (setting 'minimum_free_disk')"),
        (
            system(volume=f"clickhouse {500 * 256} 4096 {40 * 2**18} 1"),
            "host @fake/a: the disk of ClickHouse (/var/lib/clickhouse) has 500 MiB of 40.0 GiB free: ClickHouse takes no more inserts; "
            "make room (docs/how-to/disk-is-full.md), then deploy again",
        ),
        (system(cpu_flags="fpu sse2"), "host @fake/a: its processor lacks SSE 4.2, which ClickHouse needs"),
        (
            system(listener='127.0.0.1:8123 users:(("nginx",pid=7,fd=6))'),
            "host @fake/a: port 8123 (setting 'clickhouse_http_port') is already in use by nginx. Stop that program or choose another port",
        ),
        (
            system(store_in_use="yes"),
            "host @fake/a: the data directory /var/lib/clickhouse is in use by another ClickHouse than the service clickhouse-server",
        ),
        (
            system(package="clickhouse-client 26.8.19.9 installed")
            | {"clickhouse-client": ["events\tMergeTree PARTITION BY toYYYYMM(timestamp) ORDER BY timestamp", "applied"]},
            "the database cvat has a table `events` of a stock CVAT installation. Convert it with `cvat-analytics stock convert",
        ),
        (
            system(package="clickhouse-client 26.8.19.9 installed") | {"clickhouse-client": ["applied", "init.sql\tanother text"]},
            "clickhouse/init.sql was changed after it had been applied: undo the change and write a new migration instead",
        ),
        (
            system(
                package="vector 0.58.0-1 installed", listener='0.0.0.0:8282 users:(("nginx",pid=7,fd=6))'
            ),
            "host @fake/a: port 8282 (setting 'vector_port') is already in use by nginx",
        ),
        (
            {"apt-cache": ["offers clickhouse-server 18.16.1+ds-7.3"]},
            "host @fake/a: package_source vendor has no clickhouse-common-static 26.8.19.9 for amd64; it has no version of it. "
            "Choose one with the setting 'clickhouse_version'",
        ),
        (
            {"apt-cache": ["error E: Failed to fetch https://packages.clickhouse.com/deb/dists/lts/InRelease"]},
            "host @fake/a: package_source vendor cannot be read for clickhouse: E: Failed to fetch",
        ),
    ],
    ids=["fedora", "debian 11", "no root", "small disk", "full disk", "old processor", "port in use", "store in use", "stock table", "rewritten history", "port taken later", "wrong package", "no source"],
)  # fmt: skip
def test_a_host_that_will_not_do_is_refused_by_name(
    run_deploy: Deploy, answers: dict[str, list[str]], message: str
) -> None:
    assert refusal(run_deploy, answers=answers).startswith(message)


def with_addresses(**changes: str) -> dict[str | re.Pattern[str], list[str]]:
    """Return the answers of a host that says which addresses it has."""
    (lines,) = system(**changes).values()
    addresses = ("127.0.0.1", "10.0.0.5", "fd00::5", "fe80::5")
    return {"os-release": [*lines, *(f"address={each}" for each in addresses)]}


@pytest.mark.parametrize(
    "setting",
    ["clickhouse_listen_addresses", "vector_listen_address", "grafana_listen_address", "events_api_listen_address", "gateway_listen_address"],
)  # fmt: skip
def test_an_address_that_the_host_does_not_have_is_refused_with_those_that_it_has(
    run_deploy: Deploy, setting: str
) -> None:
    groups = {name: ["@fake/a"] for name in ("clickhouse", "vector", "grafana", "events_api", "gateway")}
    settings: dict[str, Any] = {
        "grafana_root_url": "https://a.example.org/",
        "cvat_url": "https://cvat.example.org/",
    }
    answers = with_addresses()

    def value(address: str) -> dict[str, Any]:
        return settings | {setting: [address] if setting.endswith("es") else address}

    text = refusal(run_deploy, groups=groups, answers=answers, settings=value("10.0.0.6"))
    assert text == (
        f"host @fake/a: has no address 10.0.0.6 to listen on (setting {setting!r}). It has 10.0.0.5, 127.0.0.1, fd00::5. Give one of "
        "these, or the address to the host first"
    )
    for address in ("10.0.0.5", "127.0.0.9", "0.0.0.0"):
        assert run_deploy(groups=groups, answers=answers, settings=value(address)).failed == set()


def test_an_address_that_wanders_between_hosts_is_taken_where_the_host_allows_it(run_deploy: Deploy) -> None:
    answers = with_addresses(takes_any_address="yes")
    assert run_deploy(answers=answers, settings={"vector_listen_address": "10.0.0.6"}).failed == set()


def test_the_own_address_of_a_store_that_others_need_is_looked_at(run_deploy: Deploy) -> None:
    answers = with_addresses()
    text = refusal(run_deploy, groups=THREE, host_settings=ADDRESSES, answers=answers)
    assert text.startswith("host @fake/a: has no address 10.0.0.1 to listen on (setting 'address')")
    # behind a device that translates addresses
    everywhere = {"clickhouse_listen_addresses": ["0.0.0.0"]}
    assert (
        run_deploy(groups=THREE, host_settings=ADDRESSES, answers=answers, settings=everywhere).failed
        == set()
    )


@pytest.mark.parametrize("setting", ["grafana_port", "events_api_port"])
def test_a_port_for_which_a_service_lacks_the_right_is_refused(run_deploy: Deploy, setting: str) -> None:
    groups = {name: ["@fake/a"] for name in ("clickhouse", "vector", "grafana", "events_api")}
    assert refusal(run_deploy, groups=groups, settings={setting: 999}) == (
        f"host @fake/a: port 999 (setting {setting!r}) is for programs with more rights than this one needs: choose one from 1024 on"
    )
    settings = {setting: 999, "vector_port": 998}
    assert run_deploy(groups=groups, settings=settings, answers=system(first_open_port="443")).failed == set()


@pytest.mark.parametrize("version", ["22.04", "24.04"])
def test_ubuntu_is_accepted(run_deploy: Deploy, version: str) -> None:
    answers = system(os_id="ubuntu", os_version=version, os_name=f"Ubuntu {version} LTS")
    assert run_deploy(answers=answers).failed == set()


def test_a_wrong_setting_is_refused_before_any_command(run_deploy: Deploy) -> None:
    assert "unknown setting 'vector_prot': did you mean 'vector_port'?" in refusal(
        run_deploy, settings={"vector_prot": 1}
    )


def test_files_of_the_operator_s_that_are_of_no_use_are_refused(run_deploy: Deploy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no PEM")
    pair = {"vector_tls_certificate": str(tmp_path / "file"), "vector_tls_key": str(tmp_path / "file")}
    assert refusal(run_deploy, settings=pair).startswith(
        f"settings 'vector_tls_certificate' and 'vector_tls_key': {tmp_path}/file and {tmp_path}/file are not a PEM certificate and"
    )
    mirror = {"package_source": "https://mirror.example.org/", "package_signing_key": str(tmp_path / "file")}
    assert "file is not an ASCII-armoured public key" in refusal(run_deploy, settings=mirror)


def test_a_bundle_that_lacks_a_package_is_refused(run_deploy: Deploy, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    assert refusal(run_deploy, settings={"package_source": str(bundle)}) == (
        f"package_source {bundle}: has no clickhouse-common-static 26.8.19.9 for amd64 (clickhouse-common-static_26.8.19.9_amd64.deb). Put it there"
    )


def test_a_service_that_does_not_come_up_fails_the_run_and_stops_what_depends_on_it(
    run_deploy: Deploy,
) -> None:
    with pytest.raises(PyinfraError):
        run_deploy(
            answers={
                "clickhouse-server did not become healthy": {"success": False, "stderr": "its last words"}
            }
        )


def installed_before(free: int) -> dict[str | re.Pattern[str], list[str]]:
    """Return the answers of a host whose event table is one of an earlier version, with `free` bytes on its disk."""
    return {
        **system(package="clickhouse-client 26.8.19.9 installed"),
        re.compile(r"SELECT type FROM system.columns.*table = \W+events\W"): ["Nullable(UInt16)", ANSWERED],
        "SELECT sum(bytes_on_disk)": [str(5 * 2**30), ANSWERED],
        "sum(unreserved_space)": [str(free), ANSWERED],
        "FROM system.processes": ["0", ANSWERED],
        re.compile(r"SELECT (create_table_query|toUnixTimestamp)|EXISTS TABLE"): ["1", ANSWERED],
        "FORMAT TSVRaw": [ANSWERED],
        "| clickhouse-client": ["applied", f"init.sql\t{migrations.FORMER['init.sql']}"],
    }


def test_a_table_of_an_earlier_version_is_rebuilt_before_vector_is_told_to_write_to_it(
    run_deploy: Deploy,
) -> None:
    run = run_deploy(answers=installed_before(free=20 * 2**30))
    assert run.failed == set()
    assert run.position(r"^\S*clickhouse-client") < run.position(
        r"rm -f /var/lib/cvat-analytics/vector.applied"
    )


def test_a_table_of_an_earlier_version_without_space_to_rebuild_it_is_refused(run_deploy: Deploy) -> None:
    message = refusal(run_deploy, answers=installed_before(free=2**30))
    assert "ClickHouse's disk has 1.0 GiB free; to rebuild the table cvat.events for a wider `count`, 5.0 GiB are needed" in message  # fmt: skip


def nearly_full(*ledger: str) -> dict[str | re.Pattern[str], list[str]]:
    """Return the answers of a host with 1.5 GiB left for ClickHouse and Vector, and this ledger of the database."""
    row = f"{3 * 2**17} 4096 {40 * 2**18} 1"
    lines = [
        f"volume=clickhouse {row}",
        f"volume=vector {row}",
        "package=clickhouse-client 26.8.19.9 installed",
    ]
    return {"os-release": [*DEBIAN_12.splitlines(), *lines], "FORMAT TSV; SELECT": ["applied", *ledger]}


def test_a_disk_with_little_left_is_spoken_of_before_the_first_change(
    run_deploy: Deploy, caplog: pytest.LogCaptureFixture
) -> None:
    scripts = [f"{script.name}\t{script.checksum}" for script in migrations.read(ROOT / "clickhouse")]
    assert run_deploy(answers=nearly_full(*scripts)).failed == set()
    assert (
        "host @fake/a: the disk of ClickHouse and Vector (/var/lib/clickhouse) has 1.5 GiB of 40.0 GiB free: below 1.0 GiB ClickHouse "
        "takes no more inserts; below 512 MiB Vector takes no events, which CVAT keeps; make room (docs/how-to/disk-is-full.md)"
    ) in caplog.text


def test_the_database_is_not_changed_where_little_is_left(run_deploy: Deploy) -> None:
    message = refusal(run_deploy, answers=nearly_full())
    assert message.startswith(
        "the deploy, which changes the database (clickhouse/init.sql, clickhouse/migrations/0001_working_time.sql, "
    )
    assert (
        "is not begun: it needs room on the disk of ClickHouse (host @fake/a, /var/lib/clickhouse), which has 1.5 GiB free"
        in message
    )


def test_the_deploy_of_a_former_release_refuses_a_newer_database_in_one_line(
    run_deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    today, then = migrations.read(ROOT / "clickhouse"), scripts_of(RELEASES[-1])
    ledger = [f"{script.name}\t{script.checksum}" for script in today]
    newer = [
        script.name
        for script in today
        if script.kind == "once" and script.name not in {each.name for each in then}
    ]
    monkeypatch.setattr(migrations, "read", lambda directory: then)
    assert refusal(run_deploy, answers=nearly_full(*ledger)) == (
        f"the database has {', '.join(newer)}, which this checkout lacks: it was deployed from a newer one. Update the checkout"
    )
