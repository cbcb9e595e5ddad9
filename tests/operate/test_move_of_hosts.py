"""A move on hosts: what is refused before the first change, what is noted, in which order things are done, and what goes on after a cut."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError, UnreachableError
from cvat_analytics.config import deployed, moves
from cvat_analytics.config import inventory as inventories
from cvat_analytics.config.moves import Move
from cvat_analytics.connect.shell import Shell
from cvat_analytics.credentials import secrets
from cvat_analytics.operate import deploy_lock
from cvat_analytics.operate.move import agents, finishing, noting, on_hosts, site, steps
from cvat_analytics.operate.move.copying import Counted
from cvat_analytics.operate.move.on_hosts import HandsOnHosts
from cvat_analytics.operate.move.site import Site
from cvat_analytics.operate.removal import Removal
from cvat_analytics.operate.survey import Survey
from cvat_analytics.operate.uninstall import HostPlan
from deploys.report import HELD, LEAVING, MOVING
from scripts.cli import main

GIB = 2**30
MOVE = Move("clickhouse", "a", "b", since="today")


class _Host(Shell):
    """A host that answers by what it is asked, and keeps the note of a move. A substitute for a host."""

    def run(self, command: str, patience: float | None = None) -> str:
        self.data["asked"].append(command)
        if command.startswith(f"cat {moves.NOTE}"):
            return str(self.data["files"].get(moves.NOTE, ""))
        if command == f"rm -f {moves.NOTE}":
            self.data["files"].pop(moves.NOTE, None)
        for part, answer in self.data["answers"].items():
            if part in command:
                return str(answer)
        return ""

    def answer(self, answers: dict[str, Any]) -> None:
        """Answer so from now on, before all else."""
        others = dict(self.data["answers"])
        self.data["answers"].clear()
        self.data["answers"].update({**answers, **others, **answers})

    def write(self, path: str, content: bytes) -> None:
        self.data["files"][path] = content.decode(errors="replace")


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """Return an inventory of two hosts, the second of which has nothing yet."""
    secrets.init(tmp_path / "secrets.json")
    write(
        tmp_path,
        'clickhouse = vector = grafana = [("a", {"address": "10.0.0.1"})]\nspare = [("b", {"address": "10.0.0.2"})]\n',
    )
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").write_text('open_to_network = ["clickhouse", "vector", "grafana"]\n')
    return tmp_path / "hosts.py"


def write(directory: Path, text: str) -> None:
    (directory / "hosts.py").write_text(text)


Hosts = dict[str, _Host]


@pytest.fixture
def hosts(inventory: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    """Return the hosts, as they are when the inventory is deployed and there is room."""
    topology = inventories.load(inventory).topology
    note = deployed.note(topology.settings["a"], topology.components("a"))
    disk = f"clickhouse {100 * GIB // 4096} 4096 {200 * GIB // 4096} 7"
    answers: dict[str, dict[str, Any]] = {
        "a": {f"cat {deployed.NOTE}": note, "du -sxB1": str(10 * GIB), "stat -f": disk, "/dev/tcp": "open"},
        "b": {"stat -f -c '%a %S' /var/lib)": f"{100 * GIB // 4096} 4096", "stat -f": disk},
    }
    found = {
        name: _Host(name, {"asked": [], "files": {}, "answers": each}, None) for name, each in answers.items()
    }
    monkeypatch.setattr(
        site, "_shells", lambda members, opened: {each.name: found[each.name] for each in members}
    )
    return found


def opened(inventory: Path, part: str = "clickhouse", target: str = "b") -> AbstractContextManager[Site]:
    return site.opened(inventory, part, target)


def refusal(inventory: Path, part: str = "clickhouse", target: str = "b") -> str:
    with pytest.raises(InputError) as refused, opened(inventory, part, target):
        pass
    return str(refused.value)


def test_what_can_be_is_not_refused(inventory: Path, hosts: Hosts) -> None:
    with opened(inventory) as found:
        assert (found.move, found.is_new) == (Move("clickhouse", "a", "b"), True)
        assert found.after.topology.groups["clickhouse"] == ("b",)
        assert found.before.topology.groups == found.stack.topology.groups
    for part in ("vector", "grafana"):
        with opened(inventory, part) as found:
            assert found.both is not None
            assert found.both.topology.groups[part] == ("b", "a")
    assert not [
        command
        for host in hosts.values()
        for command in host.data["asked"]
        if re.search("install|rm -|write", command)
    ]


def test_a_host_that_nobody_knows_or_that_has_it_is_refused(inventory: Path, hosts: Hosts) -> None:
    assert refusal(inventory, target="z").startswith(
        f"host z: is not in {inventory}, which has a, b. Put it there"
    )
    assert "the group 'vector'" in refusal(inventory, "vector", "a")
    hosts["b"].data["answers"]["systemctl -q is-active clickhouse-server"] = "runs\n"
    assert "host b: has a clickhouse already: the service clickhouse-server runs there" in refusal(inventory)
    hosts["b"].data["answers"]["systemctl -q is-active clickhouse-server"] = "data\n"
    assert "/var/lib/clickhouse is not empty. Take that away first" in refusal(inventory)
    write(inventory.parent, 'clickhouse = grafana = [("a", {"address": "10.0.0.1"})]\nvector = clickhouse + [("c", {"address": "10.0.0.3"})]\n'
          'spare = [("b", {"address": "10.0.0.2"})]\n')  # fmt: skip
    hosts["c"] = hosts["b"]
    assert "the group 'vector' has 2 hosts: nothing has to move there" in refusal(inventory, "vector")


def test_no_room_and_no_way_are_refused_with_figures(inventory: Path, hosts: Hosts) -> None:
    hosts["b"].data["answers"]["stat -f"] = f"clickhouse {30 * GIB // 4096} 4096 {200 * GIB // 4096} 7"
    assert re.match(
        r"host b: 30\.0 GiB free for /var/lib/clickhouse, and to move 10\.0 GiB takes 4\d\.\d GiB there for a while",
        refusal(inventory),
    )
    hosts["b"].data["answers"]["stat -f"] = hosts["a"].data["answers"]["stat -f"]
    # a small disk of the system's beside a large one of ClickHouse's
    hosts["b"].answer({"stat -f -c '%a %S' /var/lib)": f"{9 * GIB // 4096} 4096"})
    assert "host b: 9.0 GiB free for /var/lib/cvat-analytics, where the copy of 10.0 GiB comes to" in refusal(
        inventory
    )
    hosts["b"].answer({"stat -f -c '%a %S' /var/lib)": f"{100 * GIB // 4096} 4096"})
    hosts["a"].data["answers"]["stat -f"] = f"clickhouse {5 * GIB // 4096} 4096 {200 * GIB // 4096} 7"
    assert refusal(inventory).startswith("host a: 5.0 GiB free")
    hosts["a"].data["answers"]["stat -f"] = hosts["b"].data["answers"]["stat -f"]
    hosts["a"].data["answers"]["/dev/tcp"] = ""
    assert "host a: does not reach b at 10.0.0.2, port 22" in refusal(inventory)


def test_what_is_not_deployed_is_refused(inventory: Path, hosts: Hosts) -> None:
    other = inventories.load(inventory).topology
    older = other.settings["a"].model_copy(update={"clickhouse_version": "26.3.1.1"})
    hosts["a"].data["answers"][f"cat {deployed.NOTE}"] = deployed.note(older, other.components("a"))
    assert "setting 'clickhouse_version' of a: the inventory says" in refusal(inventory)
    hosts["a"].data["answers"][f"cat {deployed.NOTE}"] = ""
    assert "host a: nothing of a deploy is noted there. Run `cvat-analytics deploy` first" in refusal(
        inventory
    )
    (inventory.parent / "group_data" / "clickhouse.py").write_text("clickhouse_http_port = 8125\n")
    assert "group_data/clickhouse.py: gives settings to a group that changes" in refusal(inventory)


def test_another_move_keeps_one_away_and_the_same_goes_on_where_it_was(inventory: Path, hosts: Hosts) -> None:
    noting.note(hosts, Move("vector", "a", "b"), moves.MOVED)
    assert "another move is noted there: vector from a to b" in refusal(inventory)
    assert "`cvat-analytics move vector --to b --finish`" in refusal(inventory)
    # killed between the two notes: that of the host that the part leaves counts
    noting.note(hosts, MOVE, moves.COPIED)
    noting.note(
        {"a": hosts["a"], "b": _Host("b", {"asked": [], "files": {}, "answers": {}}, None)},
        MOVE,
        moves.SWITCHED,
    )
    with opened(inventory) as found:
        assert (found.move.step, found.is_new) == (moves.SWITCHED, False)
    # the inventory has been changed already, and the old host has nothing else
    write(
        inventory.parent,
        'clickhouse = vector = grafana = [("b", {"address": "10.0.0.2"})]\nformer = [("a", {"address": "10.0.0.1"})]\n',
    )
    with opened(inventory) as found:
        assert found.move.step == moves.SWITCHED
        assert found.before.topology.groups["clickhouse"] == ("a",)
    write(inventory.parent, 'clickhouse = vector = grafana = [("b", {"address": "10.0.0.2"})]\n')
    assert "host a: clickhouse moves from there, and" in refusal(inventory)


class _KilledError(Exception):
    """In the place of kill -9: nothing after it is done."""


def recorded(
    found: Site, monkeypatch: pytest.MonkeyPatch, dies_at: str = ""
) -> tuple[HandsOnHosts, list[str]]:
    """Return the hands of a move that only write down what they do, and what that is; at `dies_at` they end."""
    done: list[str] = []

    def do(what: str) -> list[Counted]:
        done.append(what)
        if what == dies_at:
            raise _KilledError
        return []

    def deploy(move: Move, stage: str, hosts: Sequence[str], leaving: Sequence[str] = ()) -> None:
        do(f"deploy {stage} to {' '.join(hosts)}{' without ' + ' '.join(leaving) if leaving else ''}")

    hands = HandsOnHosts(found, deploy, lambda said: None)

    @contextmanager
    def ends(site: Site) -> Iterator[str]:
        yield "ends"

    monkeypatch.setattr(agents, "ends", ends)
    monkeypatch.setattr(agents, "clear", lambda site: do("clear"))
    monkeypatch.setattr(steps.copying, "brought", lambda ends, tell: do("copy"))
    monkeypatch.setattr(HandsOnHosts, "hand_over", lambda self: do("hand over"))
    return hands, done


EVERYTHING = {
    "clickhouse": [
        "deploy before to a without clickhouse vector grafana events_api gateway",
        "deploy after to b without vector grafana events_api gateway",
        "copy", "deploy after to b a", "copy", "clear",
    ],
    "vector": ["deploy both to b a"],
    "grafana": ["deploy both to b a", "hand over", "deploy after to b a", "clear"],
}  # fmt: skip


@pytest.mark.parametrize("part", sorted(EVERYTHING))
def test_each_step_is_done_in_turn_and_after_a_cut_only_what_is_left(
    inventory: Path, hosts: Hosts, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    with opened(inventory, part) as found:
        hands, done = recorded(found, monkeypatch)
        hands.note(moves.BEGUN)
        steps.OF_PART[part](hands, lambda said: None)
        assert [set(each.split()) for each in done] == [set(each.split()) for each in EVERYTHING[part]]
        assert noting.noted(hosts["a"]) == noting.noted(hosts["b"]) == replace(found.move, step=moves.MOVED)
    every = list(done)
    if part == "clickhouse":
        # killed in the switch, or before it is noted: some hosts may use the new one by now
        hands.note(moves.BEGUN)
        with opened(inventory, part) as found, pytest.raises(_KilledError):
            steps.OF_PART[part](recorded(found, monkeypatch, dies_at=every[3])[0], lambda said: None)
        there = noting.noted(hosts["b"])
        assert there
        assert (there.step, there.is_used) == (moves.SWITCHING, True)
    for number, step in enumerate(every):
        hands.note(moves.BEGUN)
        all_done: list[str] = []
        with opened(inventory, part) as found:
            hands, done = recorded(found, monkeypatch, dies_at=step)
            with pytest.raises(_KilledError):
                steps.OF_PART[part](hands, lambda said: None)
            all_done += done
        with opened(inventory, part) as found:
            hands, done = recorded(found, monkeypatch)
            steps.OF_PART[part](hands, lambda said: None)
            all_done += done
        # none is left out, and what was cut off is done again
        assert list(dict.fromkeys(all_done)) == list(dict.fromkeys(every)), (number, step)
        assert all_done.count(step) > 1
        assert noting.noted(hosts["a"]) == replace(found.move, step=moves.MOVED)


def test_what_is_not_moved_or_not_in_the_inventory_is_not_taken_away(
    inventory: Path, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        opened(inventory) as found,
        pytest.raises(
            InputError, match=r"there is nothing to finish\. First `cvat-analytics move clickhouse --to b`"
        ),
    ):
        finishing.planned(found)
    noting.note(hosts, MOVE, moves.SWITCHED)
    with opened(inventory) as found, pytest.raises(InputError, match="clickhouse is still on its way to b"):
        finishing.planned(found)
    noting.note(hosts, MOVE, moves.MOVED)
    with (
        opened(inventory) as found,
        pytest.raises(
            InputError, match=r"put b in the place of a in the group 'clickhouse'\. Then run this again"
        ),
    ):
        finishing.planned(found)
    write(
        inventory.parent,
        'vector = grafana = [("a", {"address": "10.0.0.1"})]\nclickhouse = [("b", {"address": "10.0.0.2"})]\n',
    )
    survey = (
        "record package clickhouse-server\nfile /var/lib/cvat-analytics/made\ndirectory /var/lib/clickhouse\nrecord path /var/lib/clickhouse\n"
        "package clickhouse-server\t26.8\tinstalled\t, \t\nunit clickhouse-server.service active enabled\nunit vector.service active enabled\n"
    )
    hosts["a"].answer({"record=": survey})
    with opened(inventory) as found:
        old = finishing.planned(found)
        assert (old.removal.units, list(old.removal.packages)) == (
            ["clickhouse-server.service"],
            ["clickhouse-server"],
        )
        assert old.removal.data == {}
        told: list[object] = []
        hands, done = recorded(found, monkeypatch)

        def removed(host: HostPlan, tell: object, *, shares: bool) -> None:
            told.append((host.name, shares, list(done)))
            if len(told) == 1:
                raise _KilledError

        monkeypatch.setattr(finishing.uninstall, "carry_out", removed)
        with pytest.raises(_KilledError):
            finishing.carry_out(found, old, hands, told.append)
    # what somebody has put into the old one since is brought before it goes, by agents that a deploy may have taken away
    everything = "without clickhouse vector grafana events_api gateway"
    first = [f"deploy after to a {everything}", f"deploy after to b {everything}", "copy", "clear"]
    assert told == [("a", True, first)]
    # cut off while it was removed: there may be nothing to copy from any more
    hosts["a"].answer({"record=": ""})
    with opened(inventory) as found:
        hands, done = recorded(found, monkeypatch)
        finishing.carry_out(found, old, hands, told.append)
    assert told[1:] == [("a", True, ["clear"])]
    assert noting.noted(hosts["a"]) is noting.noted(hosts["b"]) is None


def test_the_old_vector_s_rights_end_when_it_is_gone(
    inventory: Path, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    noting.note(hosts, Move("vector", "a", "b"), moves.MOVED)
    with opened(inventory, "vector") as found:
        hands, done = recorded(found, monkeypatch)
        monkeypatch.setattr(
            finishing.uninstall, "carry_out", lambda host, tell, *, shares: done.append("removed")
        )
        old = HostPlan("a", hosts["a"], Survey(), Removal(units=["vector.service"]))
        finishing.carry_out(found, old, hands, lambda step: None)
    assert done in (["clear", "removed", "deploy after to b a"], ["clear", "removed", "deploy after to a b"])


def test_a_dedicated_old_host_makes_no_backups_after_the_switch(
    inventory: Path, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def switched() -> list[str]:
        hosts["a"].data["asked"].clear()
        with opened(inventory) as found:
            recorded(found, monkeypatch)[0].switch()
        return [each for each in hosts["a"].data["asked"] if each.startswith("systemctl disable")]

    # which has other parts to back up
    assert switched() == []
    write(
        inventory.parent,
        'clickhouse = [("a", {"address": "10.0.0.1"})]\nvector = grafana = [("b", {"address": "10.0.0.2"})]\n',
    )
    noting.note(hosts, MOVE, moves.SWITCHING)
    (ended,) = switched()
    assert "cvat-analytics-backup.timer" in ended
    assert "cvat-analytics-backup-verify.timer" in ended


def test_what_could_not_be_cleared_is_said(
    inventory: Path, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(site: Site) -> None:
        raise UnreachableError(Code.CONNECTION_LOST, "host b: the connection is lost")

    told: list[str] = []
    with opened(inventory) as found:
        monkeypatch.setattr(agents, "clear", lost)
        HandsOnHosts(found, lambda *about, **more: None, lambda said: told.append(said["step"])).clear()
    (said,) = told
    assert said.startswith("NOT CLEARED: host b: the connection is lost")
    assert "a key that lets a in at b" in said


def test_every_host_knows_of_the_move_also_one_that_it_is_nothing_to(inventory: Path, hosts: Hosts) -> None:
    write(inventory.parent, 'clickhouse = grafana = [("a", {"address": "10.0.0.1"})]\nvector = [("c", {"address": "10.0.0.3"})]\n'
          'spare = [("b", {"address": "10.0.0.2"})]\n')  # fmt: skip
    topology = inventories.load(inventory).topology
    for name in ("a", "c"):
        note = deployed.note(topology.settings[name], topology.components(name))
        hosts.setdefault(name, _Host(name, {"asked": [], "files": {}, "answers": {}}, None)).answer(
            {f"cat {deployed.NOTE}": note}
        )
    with opened(inventory) as found:
        noting.note(found.shells, found.move, moves.MOVED)
    assert noting.noted(hosts["c"]) == replace(MOVE, step=moves.MOVED)
    with opened(inventory) as found:
        noting.forget(found.shells, found.move)
    assert [noting.noted(host) for host in hosts.values()] == [None] * 3


def test_what_changed_while_nobody_answered_is_not_overrun(
    inventory: Path, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = False

    @contextmanager
    def held_on(shells: Sequence[Shell], what: str) -> Iterator[deploy_lock.Held]:
        # whoever had it has just gone on
        noting.note(hosts, MOVE, moves.SWITCHED if not locked else moves.LEAVING)
        yield deploy_lock.Held("a lock", {})

    def refused(*options: str) -> str:
        told = run_command(inventory, "--yes", *options)
        assert told.exit_code == 2, told.output
        return told.stderr

    monkeypatch.setattr(deploy_lock, "held_on", held_on)
    monkeypatch.setattr("scripts.deploy.bring", lambda *about, **more: pytest.fail("deployed"))
    assert (
        "now there is noted: clickhouse from a to b: switched. Nothing was changed. Run it again" in refused()
    )
    locked = True
    noting.note(hosts, MOVE, moves.MOVED)
    write(
        inventory.parent,
        'vector = grafana = [("a", {"address": "10.0.0.1"})]\nclickhouse = [("b", {"address": "10.0.0.2"})]\n',
    )
    assert "clickhouse from a to b: leaving. Nothing was changed" in refused("--finish")
    noting.forget(hosts, MOVE)


def test_a_host_of_a_deploy_meanwhile_is_not_moved(inventory: Path, hosts: Hosts) -> None:
    with opened(inventory) as found:
        hosts["a"].data["answers"][f"cat {deployed.NOTE}"] = ""
        with pytest.raises(InputError, match="nothing of a deploy is noted there"):
            site.refuse_changed(found)


def test_grafana_s_database_comes_over_as_it_is_or_not_at_all(
    inventory: Path, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"SQLite \x00\xff\n"
    hosts["a"].answer(
        {
            "python3 -c": json.dumps({"user": 3, "dashboard": 2, "migration_log": 600}),
            "base64 ": base64.b64encode(content).decode(),
        }
    )
    put: list[str] = []
    monkeypatch.setattr(on_hosts.grafana, "put_back", lambda shell, place: put.append(shell.host))
    with opened(inventory, "grafana") as found:
        hands = HandsOnHosts(found, lambda *about, **more: None, lambda said: None)
        hosts["b"].data["answers"]["sha256sum"] = "0" * 64
        with pytest.raises(Exception, match="has not come there as it was"):
            hands.hand_over()
        assert put == []
        hosts["b"].data["answers"]["sha256sum"] = hashlib.sha256(content).hexdigest()
        assert [(each.table, each.new) for each in hands.hand_over()] == [
            ("grafana user", 3),
            ("grafana dashboard", 2),
        ]
    assert put == ["b"]
    asked = hosts["a"].data["asked"]
    stopped, copied = (
        next(n for n, command in enumerate(asked) if part in command)
        for part in ("disable -q --now grafana-server", "python3 -c")
    )
    assert stopped < copied


def local(host: str = "this machine") -> Shell:
    return Shell(host, {}, None)


def test_a_file_comes_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    path = tmp_path / "a file"
    local().write(str(path), content)
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o077 == 0
    assert [each.name for each in tmp_path.iterdir()] == ["a file"]
    # as where sudo asks for no password, and the line with it is what the command gets first
    with local().stream(
        f"sed '0,/^--content--$/d' > {tmp_path}/other", None, b"a password\n--content--\nrest\n"
    ):
        pass
    assert (tmp_path / "other").read_text() == "rest\n"
    with pytest.raises(UnreachableError):
        local().write(str(tmp_path / "no" / "directory"), b"x")


def run_command(inventory: Path, *options: str) -> Result:
    return CliRunner().invoke(
        main, ["move", "clickhouse", "--to", "b", "--inventory", str(inventory), *options]
    )


def test_the_command_says_what_it_will_do_what_it_has_done_and_what_is_left_to_do(
    inventory: Path, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    preview = run_command(inventory, "--dry")
    assert preview.exit_code == 0, preview.output
    assert "clickhouse moves from a to b (10.0 GiB of data):" in preview.output
    assert preview.output.endswith("Nothing was changed.\n")
    assert json.loads(run_command(inventory, "--dry", "--json").stdout)["step"] == moves.BEGUN
    assert run_command(inventory, "--json").exit_code == 2
    assert run_command(inventory, "--finish", "--yes").exit_code == 2
    # nobody says yes
    assert run_command(inventory).exit_code == 1
    assert noting.noted(hosts["a"]) is None

    deploys: list[tuple[str, list[str], str]] = []

    def bring(inventory: Path, options: Sequence[str], quiet: bool, environment: dict[str, str]) -> None:
        stage = json.loads(environment[MOVING])["stage"]
        assert environment[HELD] == "a move of 2 hosts"
        deploys.append((stage, [each for each in options if each != "--limit"], environment.get(LEAVING, "")))

    @contextmanager
    def ends(site: Site) -> Iterator[str]:
        yield "ends"

    monkeypatch.setattr("scripts.deploy.bring", bring)
    monkeypatch.setattr(
        deploy_lock,
        "held_on",
        lambda shells, what: nullcontext(deploy_lock.Held(f"{what} of {len(shells)} hosts", {})),
    )
    monkeypatch.setattr(agents, "ends", ends)
    monkeypatch.setattr(agents, "clear", lambda site: None)
    monkeypatch.setattr(steps.copying, "brought", lambda ends, tell: [Counted("events", "202611", 90, 95)])
    done = run_command(inventory, "--yes")
    assert done.exit_code == 0, done.output
    assert [stage for stage, _, _ in deploys] == [moves.BEFORE, moves.AFTER, moves.AFTER]
    assert [hosts for _, hosts, _ in deploys] == [["a"], ["b"], ["b", "a"]]
    assert [leaving for _, _, leaving in deploys][2] == ""
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["events", "202611", "90", "on", "a", "95", "on", "b"]
    assert "  CLICKHOUSE_HOST=10.0.0.2" in lines
    assert (
        f"Change {inventory}: put b in the place of a in the group 'clickhouse'. Until then each deploy refuses."
        in lines
    )
    assert lines[-1].endswith(f"move clickhouse --to b --finish --inventory {inventory}")
    # once more: nothing is left to do, and the same is said
    deploys.clear()
    again = json.loads(run_command(inventory, "--yes", "--json").stdout)
    assert (deploys, again["step"], again["tell_cvat"]["CLICKHOUSE_HOST"]) == ([], moves.MOVED, "10.0.0.2")
