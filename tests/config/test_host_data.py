"""A misspelt name of pyinfra's in the data of a host is refused as a misspelt setting is, with the one that was meant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import ROOT
from cvat_analytics.config import host_data, inventory


def load(directory: Path, data: dict[str, Any], group_data: str = "") -> inventory.Stack:
    path = directory / "hosts.py"
    path.write_text(f"clickhouse = vector = grafana = [('a', {data!r})]\n")
    (directory / "group_data").mkdir(exist_ok=True)
    (directory / "group_data" / "all.py").write_text(group_data)
    return inventory.load(path)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ssh_prot", "ssh_port"),
        ("ssh_host", "ssh_hostname"),
        ("ssh_known_hosts", "ssh_known_hosts_file"),
        ("shh_port", "ssh_port"),
        ("_sudo_pasword", "_sudo_password"),
        ("_suod", "_sudo"),
        ("sudo", "_sudo"),
        ("sudo_password", "_sudo_password"),
        ("docker_identifer", "docker_identifier"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest_right_one(tmp_path: Path, name: str, meant: str) -> None:
    what = "name" if name.startswith(("ssh_", "_", "docker_")) else "setting"
    with pytest.raises(InputError) as refused:
        load(tmp_path, {name: 1})
    assert (
        str(refused.value)
        == f"inventory {tmp_path}/hosts.py: unknown {what} {name!r}: did you mean {meant!r}?"
    )


def test_all_mistakes_of_all_hosts_are_said_at_once_and_each_once(tmp_path: Path) -> None:
    path = tmp_path / "hosts.py"
    data = {"ssh_prot": 22, "vector_prot": 1, "ssh_zzz": 1}
    path.write_text(f"clickhouse = vector = grafana = [('a', {data!r}), ('b', {data!r})]\n")
    with pytest.raises(InputError) as refused:
        inventory.load(path)
    lines = [line.removeprefix(f"inventory {path}: ") for line in str(refused.value).splitlines()]
    assert lines[0] == "unknown name 'ssh_prot': did you mean 'ssh_port'?"
    assert lines[1].startswith("unknown name 'ssh_zzz': pyinfra has ssh_allow_agent, ssh_config_file, ")
    assert "the group 'clickhouse' has 2 hosts" in lines[2]
    assert lines[3:] == ["unknown setting 'vector_prot': did you mean 'vector_port'?"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"ssh_port": "22"}, "'ssh_port': is of type int (got '22')"),
        ({"ssh_key": Path("/k")}, "'ssh_key': is of type str"),
        ({"ssh_forward_agent": "yes"}, "'ssh_forward_agent': is of type bool (got 'yes')"),
    ],
    ids=["port", "key", "agent"],
)
def test_a_value_that_pyinfra_would_not_take_is_refused(
    tmp_path: Path, data: dict[str, Any], message: str
) -> None:
    hosts = [inventory.Host("a", ("clickhouse", "vector", "grafana"), data)]
    with pytest.raises(InputError) as refused:
        inventory.describe(hosts, tmp_path / "hosts.py")
    assert message in str(refused.value)


def test_every_name_that_pyinfra_has_is_taken_and_so_is_a_variable_of_the_inventory_s_own(
    tmp_path: Path,
) -> None:
    names = host_data.known()
    values = {name: kind() if kind in (bool, int, str, float, dict) else None for name, kind in names.items()}
    typed = {name: value for name, value in values.items() if value is not None or name.startswith("_")}
    assert len(typed) > 35
    load(tmp_path, typed, "_domain = 'example.org'\n_user = 'ops'\nssh_hostname = f'a.{_domain}'\n")


def test_the_everyday_names_are_pyinfra_s_and_need_none_of_its_libraries(tmp_path: Path) -> None:
    names = host_data.known()
    assert {name: names[name] for name in host_data.EVERYDAY if not name.startswith("_")} == {
        name: kind for name, kind in host_data.EVERYDAY.items() if not name.startswith("_")
    }
    values = {name: kind() for name, kind in host_data.EVERYDAY.items()}
    path = load(tmp_path, values).secrets_file.with_name("hosts.py")
    program = (
        "import sys; from pathlib import Path; from cvat_analytics.config import inventory; inventory.load(Path(sys.argv[1])); "
        "print(sorted({'pyinfra', 'gevent', 'paramiko'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
