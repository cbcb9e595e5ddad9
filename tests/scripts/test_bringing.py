"""What commands make of a deploy's outcome: its last lines, its errors, and a password's change in three deploys."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.config import inventory as inventories
from cvat_analytics.config import topology
from cvat_analytics.credentials import secrets
from cvat_analytics.credentials.certificates import Authority
from cvat_analytics.operate import rotation
from cvat_analytics.store import migrations
from deploys.facts import _ANSWERED as ANSWERED
from scripts import deploy
from scripts.cli import main
from tests.deploys.conftest import DEBIAN_12, OFFERS
from tests.ssh_server import ssh_server

Said = Callable[..., None]


@pytest.fixture
def pyinfra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """Return a function that lets pyinfra report these lines, say this, answer this, and end so."""

    def says(report: list[dict[str, str]], answer: dict[str, Any], code: int = 0, log: str = "") -> None:
        program = tmp_path / "pyinfra"
        (tmp_path / "reported").write_text("".join(f"{json.dumps(line)}\n" for line in report))
        program.write_text(
            f"#!/bin/sh\necho {shlex.quote(log)} >&2\ncat {tmp_path}/reported >> $CVAT_ANALYTICS_DEPLOY_REPORT\n"
            f"cat <<'X'\n{json.dumps(answer)}\nX\nexit {code}\n"
        )
        program.chmod(0o755)
        monkeypatch.setattr(deploy.sys, "executable", str(program))
        # there is no database behind it that could know of any
        monkeypatch.setattr(deploy, "_erasures_are_known", lambda inventory: False)

    return says


BEGUN = {"what": "begun"}


def setting(text: str) -> dict[str, str]:
    return {"what": "cvat setting", "text": text}


def refused(reason: str) -> dict[str, str]:
    return {"what": "refused", "reason": reason}


def plan(*changes: str) -> dict[str, Any]:
    steps = [
        {"name": name, "hosts_with_change": ["a"], "hosts_with_conditional_change": []} for name in changes
    ]
    return {"plan": [*steps, {"name": "other", "hosts_with_change": [], "hosts_with_conditional_change": []}]}


def test_what_cvat_has_to_be_told_is_collected_once(pyinfra: Said, tmp_path: Path) -> None:
    line = setting("DJANGO_LOG_SERVER_PORT=9282  (was 8282)")
    pyinfra([line, BEGUN, line], {"results": {"operations": []}})
    assert deploy.bring(tmp_path / "hosts.py", quiet=True).told == ["DJANGO_LOG_SERVER_PORT=9282  (was 8282)"]


@pytest.mark.parametrize("dry", [False, True])
def test_a_clock_that_is_wrong_is_noted(
    pyinfra: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dry: bool
) -> None:
    path = tmp_path / "hosts.py"
    path.write_text("clickhouse = vector = grafana = ['a']\n")
    described = inventories.load(path)
    monkeypatch.setattr(inventories, "load", lambda path: described)
    secrets.init(path.with_name("secrets.json"))
    lines = [
        {"what": "clock", "host": "a", "least": "-0.1", "most": "0.1", "synchronised": "no"},
        {"what": "clock", "host": "b", "least": "4.9", "most": "5.3", "synchronised": "yes"},
    ]
    pyinfra([*lines, BEGUN], plan() if dry else {"results": {"operations": []}})
    result = CliRunner().invoke(main, ["deploy", "--inventory", str(path), *(["--dry"] if dry else [])])
    assert result.exit_code == 0, result.output
    first, second = [line for line in result.stderr.splitlines() if "clock" in line]
    assert first.startswith("Note: host a: its clock is not synchronised")
    assert second.startswith("Note: host b: its clock is 4.9 s ahead of this machine's")


def test_what_the_cvat_side_needs_is_said_with_the_command_that_makes_it(
    pyinfra: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hosts.py"
    path.write_text("clickhouse = vector = grafana = ['a']\n")
    described = inventories.load(path)
    monkeypatch.setattr(inventories, "load", lambda path: described)
    lines = [
        setting("CLICKHOUSE_PORT=8443  (was 8123)"),
        setting("CLICKHOUSE_HOST=127.0.0.1"),
        {"what": "cvat file", "name": "analytics.yml", "change": "has changed"},
        {"what": "cvat file", "name": "cvat-analytics-ca.pem", "change": "is new"},
    ]
    pyinfra([*lines, BEGUN, *lines], {"results": {"operations": []}})
    result = CliRunner().invoke(main, ["deploy", "--inventory", str(path)])
    assert result.exit_code == 0, result.output
    told = result.stdout[result.stdout.index("Tell CVAT") :].splitlines()
    assert told == [
        "Tell CVAT, in the environment of its server and workers (docs/how-to/connect-cvat.md; all of it: "
        f"`cvat-analytics cvat-env --inventory {path}`):",
        "  CLICKHOUSE_PORT=8443  (was 8123)",
        "  CLICKHOUSE_HOST=127.0.0.1  (reached from that host only: "
        f"`cvat-analytics cvat-env --inventory {path}` says what to set)",
        "The rule for CVAT's traefik has changed. Put it beside CVAT's docker-compose.yml, then restart traefik (docs/how-to/connect-cvat.md):",
        f"  cvat-analytics cvat-env --inventory {path} --format traefik > analytics.yml",
        "The stack's authority, which CVAT has to trust for its exports, is new. Copy it to beside CVAT's docker-compose.yml, then "
        "restart CVAT's server and workers (docs/how-to/use-tls.md):",
        f"  cp {tmp_path}/certificates/ca.pem cvat-analytics-ca.pem",
        f"Prove that it works: cvat-analytics smoke --inventory {path}",
    ]


def notes(directory: Path, settings: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what a deploy notes about the settings of a stack that is in order."""
    path = directory / "hosts.py"
    path.write_text("clickhouse = vector = grafana = events_api = gateway = ['a']\n")
    (directory / "group_data").mkdir(exist_ok=True)
    (directory / "group_data" / "all.py").write_text(settings)
    described = inventories.load(path)
    monkeypatch.setattr(inventories, "load", lambda path: described)
    result = CliRunner().invoke(main, ["deploy", "--inventory", str(path)])
    assert result.exit_code == 0, result.output
    monkeypatch.undo()
    return [line for line in result.stderr.splitlines() if line.startswith("Note: ")]


def test_a_deploy_notes_that_people_are_sent_to_another_port_than_the_gateways(
    pyinfra: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyinfra([BEGUN], {"results": {"operations": []}})
    address = "grafana_root_url = 'https://a.example.org/'\ngateway_listen_address = '10.0.0.5'\ngateway_https_port = 9443\n"
    (note,) = notes(tmp_path, address, monkeypatch)
    assert note.startswith(
        "Note: host a: the gateway has port 9443 ('gateway_https_port'), but 'grafana_root_url' sends people to port 443"
    )


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("alerts = True\nalert_webhook_url = 'https://hooks.example.org/'\n", "http://localhost:3000/analytics/"),
        ("alerts = True\nalert_emails = ['a@example.org']\nsmtp_host = 'm:25'\ngrafana_root_url = 'https://127.0.0.1/'\n", "https://127.0.0.1/"),
        ("alerts = True\nalert_emails = ['a@example.org']\nsmtp_host = 'm:25'\ngrafana_root_url = 'https://a.example.org/'\n", ""),
        ("alerts = True\n", ""),
        ("alert_webhook_url = 'https://hooks.example.org/'\n", ""),
    ],
    ids=["default", "loopback", "a name", "nobody is told", "off"],
)  # fmt: skip
def test_a_deploy_notes_that_links_in_alerts_lead_to_the_readers_own_machine(
    pyinfra: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, told: str
) -> None:
    pyinfra([BEGUN], {"results": {"operations": []}})
    found = notes(tmp_path, settings, monkeypatch)
    expected = f"Note: host a: the links in alerts begin with {told}, which is the machine of whoever reads them. Give the address at "
    assert [note.startswith(expected) for note in found] == ([True] if told else [])


def host_data(**data: object) -> str:
    data = {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_config_file": "/dev/null"} | data
    return f"clickhouse = vector = grafana = [('a', {data!r})]\n"


def refusal(directory: Path, text: str, capfd: pytest.CaptureFixture[str], **environment: str) -> list[str]:
    """Return the lines of a real pyinfra's refusal of the inventory `text`, which no traceback may stand before."""
    (directory / "hosts.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with pytest.raises(InputError) as refused:
            deploy.bring(directory / "hosts.py")
    said = capfd.readouterr().err
    assert "Connecting to hosts" in said
    assert "Traceback" not in said
    *reasons, last = str(refused.value).splitlines()
    assert last == "refused before the first change; the hosts are as they were"
    texts = [re.fullmatch(r"(.*) \[CVA\d{4}\]", reason) for reason in reasons]
    return [text[1] for text in texts if text]


def test_a_host_that_is_not_logged_in_to_is_named_with_the_reason_and_without_a_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (reason,) = refusal(tmp_path, host_data(), capfd)
    assert reason.startswith("host a: cannot be reached: 127.0.0.1 refuses connections to port 1. ")
    (reason,) = refusal(tmp_path, host_data(ssh_key=f"{tmp_path}/no-key"), capfd)
    assert (
        reason
        == f"host a: cannot be logged in to: there is no key file {tmp_path}/no-key. See `ssh_key` in the inventory"
    )


def test_a_jump_host_whose_key_is_not_known_is_named_where_nobody_can_be_asked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ssh_server() as jump:
        port = jump.address[1]
        (tmp_path / "config").write_text(f"Host a\n  ProxyJump ops@127.0.0.1:{port}\n")
        text = host_data(ssh_hostname="a", ssh_config_file=str(tmp_path / "config"))
        # as in a container: no home, so that there is no ~/.ssh either
        (reason,) = refusal(tmp_path, text, capfd, HOME=str(tmp_path / "home"))
    assert reason == (
        f"host a: cannot be logged in to: the way there leads through [127.0.0.1]:{port}, whose host key is not known here "
        f"(~/.ssh/known_hosts has none). Compare it and accept it by `ssh -p {port} 127.0.0.1`"
    )


FAKES = """
clickhouse = [("@fake/a", {"address": "10.0.0.1"})]
vector = [("@fake/b", {"address": "10.0.0.2"})]
grafana = [("@fake/c", {"address": "10.0.0.3"})]
"""


def of_fakes(directory: Path, answers: dict[str, str], settings: str = "") -> Path:
    """Return the inventory of pyinfra's fake hosts, which answer so."""
    secrets.init(directory / "secrets.json")
    (directory / "group_data").mkdir()
    (directory / "group_data" / "all.py").write_text(
        f"fake_responses = {answers!r}\nfake_delay = 0\nfake_delay_jitter = 0\nopen_to_network = ['clickhouse']\n{settings}"
    )
    (directory / "hosts.py").write_text(FAKES)
    return directory / "hosts.py"


def test_a_plugin_that_cannot_be_had_is_refused_before_the_first_change(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "grafana_13.2.3_amd64.deb").touch()
    path = of_fakes(tmp_path, {"os-release": DEBIAN_12}, f"package_source = {str(bundle)!r}\n")
    with pytest.raises(
        InputError,
        match=r"has no grafana-clickhouse-datasource-.*zip. Put it there \[CVA3302\]\nrefused before",
    ):
        deploy.bring(path, options=["--limit", "grafana"])
    assert "Traceback" not in capfd.readouterr().err


def test_what_ends_a_step_is_said_last_and_without_a_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A table of an earlier version that there is no space to rebuild."""
    answers = {
        "os-release": f"{DEBIAN_12}\npackage=clickhouse-client 26.8.19.9 installed",
        "apt-cache": OFFERS,
        "SELECT type FROM system.columns": f"Nullable(UInt16)\n{ANSWERED}",
        "SELECT sum(bytes_on_disk)": f"{5 * 2**30}\n{ANSWERED}",
        "sum(unreserved_space)": f"{2**30}\n{ANSWERED}",
        "FORMAT TSVRaw": ANSWERED,
        "FORMAT TSV; SELECT": f"applied\ninit.sql\t{migrations.FORMER['init.sql']}",
    }
    with pytest.raises(CvatAnalyticsError) as failed:
        deploy.bring(of_fakes(tmp_path, answers), options=["--limit", "clickhouse"])
    said = capfd.readouterr().err
    assert "Traceback" not in said
    reason, last = str(failed.value).splitlines()
    assert "ClickHouse's disk has 1.0 GiB free; to rebuild the table cvat.events" in reason
    assert last.startswith("a step failed (see above).")


def test_a_mistyped_group_of_the_inventory_is_not_left_out_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "hosts.py"
    everything = "".join(f"{name} = ['a']\n" for name in ("clickhouse", "vector", "grafana", "events_api"))
    path.write_text(f"{everything}gatway = ['a']\n")
    with pytest.raises(InputError, match="unknown group 'gatway': did you mean 'gateway'"):
        inventories.load(path)
    path.write_text(f"{everything}staging = ['a']\n")
    assert inventories.load(path).topology.groups["gateway"] == ()


def test_a_failed_step_and_a_refusal_are_told_apart(
    pyinfra: Said, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pyinfra([refused("host a: is away")], {}, code=1, log="No hosts remaining!")
    with pytest.raises(InputError, match=r"^host a: is away\nrefused before the first change"):
        deploy.bring(tmp_path / "hosts.py", quiet=True)
    assert "No hosts remaining" in capsys.readouterr().err, "quiet is for what goes well"
    pyinfra([BEGUN], {}, code=1, log="no space left")
    with pytest.raises(CvatAnalyticsError, match="a step failed") as failed:
        deploy.bring(tmp_path / "hosts.py", quiet=True)
    assert (failed.value.exit_code, failed.value.code) == (1, Code.DEPLOY_STEP_FAILED)
    pyinfra([BEGUN, refused("host a: no room [CVA4007]")], {}, code=1)
    with pytest.raises(CvatAnalyticsError, match="a step failed") as failed:
        deploy.bring(tmp_path / "hosts.py", quiet=True)
    assert failed.value.code is Code.DISK_FULL


def test_a_new_authority_is_told_once_because_nobody_trusts_it_yet(
    pyinfra: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "certificates")
    described = SimpleNamespace(
        secrets_file=tmp_path / "secrets.json",
        authority=authority,
        topology=topology.build(dict.fromkeys(("clickhouse", "vector", "grafana"), ("a",)), {}, where="test"),
    )
    monkeypatch.setattr(deploy.inventories, "load", lambda path: described)
    monkeypatch.setattr(deploy, "_ensure_secrets", lambda stack, dry: None)
    pyinfra([], {"results": {"operations": []}})
    (tmp_path / "hosts.py").touch()
    run = ["deploy", "--inventory", str(tmp_path / "hosts.py")]
    assert "has to trust" not in CliRunner().invoke(main, run).output
    bring = deploy.bring

    def makes(*arguments: Any, **options: Any) -> deploy.Outcome:
        authority.make()
        return bring(*arguments, **options)

    monkeypatch.setattr(deploy, "bring", makes)
    first, second = (CliRunner().invoke(main, run) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    assert f"outside has to trust {authority.certificate_file}, and an earlier one no longer" in first.output
    assert "has to trust" not in second.output


def test_hosts_that_are_not_as_the_inventory_says_are_refused(pyinfra: Said, tmp_path: Path) -> None:
    pyinfra([], plan())
    deploy.refuse_pending(tmp_path / "hosts.py")
    pyinfra([], plan("vector: configuration"))
    with pytest.raises(InputError, match=r"not as .* says \(vector: configuration\)"):
        deploy.refuse_pending(tmp_path / "hosts.py")


def test_a_deployed_password_changes_in_three_deploys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, file = tmp_path / "hosts.py", tmp_path / "secrets.json"
    secrets.init(file)
    old = secrets.load(file)["clickhouse_vector"]
    described = inventories.describe([inventories.Host("a", topology.GROUPS, {})], path)
    calls: list[str] = []
    accepted: set[str] = set()

    def bring(inventory: Path, quiet: bool = False) -> None:
        calls.append("deploy")
        values = secrets.load(file)
        accepted.clear()
        accepted.update(
            values[name]
            for name in values
            if name.startswith("clickhouse_vector") and not name.endswith("_gone")
        )

    monkeypatch.setattr("scripts.secrets.inventories.load", lambda path: described)
    monkeypatch.setattr("cvat_analytics.connect.remote.reach", lambda path: nullcontext(None))
    monkeypatch.setattr("scripts.deploy.bring", bring)
    monkeypatch.setattr("scripts.deploy.refuse_pending", lambda path: calls.append("look"))
    monkeypatch.setattr(
        rotation, "login", lambda access, user, password: 200 if password in accepted else 403
    )
    result = CliRunner().invoke(main, ["secrets", "rotate", "vector", "--inventory", str(path)])
    assert result.exit_code == 0, result.output
    assert calls == ["look", "deploy", "deploy", "deploy"]
    new = secrets.load(file)["clickhouse_vector"]
    assert (new != old, accepted) == (True, {new})
    assert new not in result.output
