"""What an uninstall would do on a host, by what is noted there and what is there; and the lines of sh that note it, run for real."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.operate.removal import LOCK, Removal
from cvat_analytics.operate.removal_plan import plan
from cvat_analytics.operate.survey import SURVEY, surveyed
from cvat_analytics.rendering import made

DEPLOYED = """record package clickhouse-server
record package clickhouse-common-static
record package nginx
record package nginx-common
record package vector
record path /etc/grafana/provisioning/datasources/cvat-analytics.yaml
record path /etc/vector
record path /etc/vector/vector.toml
record path /var/lib/clickhouse
record user clickhouse
record group clickhouse
record unit grafana-server.service active enabled
directory /etc/cvat-analytics
directory /etc/cvat-analytics/secrets
directory /etc/grafana
directory /etc/vector
directory /var/lib/clickhouse
directory /var/lib/cvat-analytics
directory /var/lib/grafana
file /etc/grafana/grafana.ini
file /etc/grafana/provisioning/datasources/cvat-analytics.yaml
file /etc/vector/vector.toml
file /var/lib/cvat-analytics/made
size 2048 /var/lib/clickhouse
size 1024 /var/lib/grafana
package clickhouse-server\t26.8\tinstalled\t, clickhouse-common-static (= 26.8)\t
package clickhouse-common-static\t26.8\tinstalled\t, \t
package grafana\t12.4.0\tinstalled\t, adduser\t
package nginx\t1.22\tinstalled\t, nginx-common (<< 1.22.1), libc6 (>= 2.28)\thttpd
package nginx-common\t1.22\tinstalled\t, \t
package vector\t0.58.0-1\tinstalled\t, \t
user clickhouse
group clickhouse
user grafana
group grafana
unit clickhouse-server.service active enabled
unit grafana-server.service active enabled
unit vector.service active enabled
unit cvat-analytics-backup.service inactive static
unit cvat-analytics-backup.timer active enabled
unit cvat-analytics-firewall.service active enabled
unit nginx.service inactive masked
"""


THEIRS = "no deploy has made it, as far as is noted"


def planned(
    text: str = DEPLOYED, purge: bool = False, parts: set[str] | None = None, backups: str = ""
) -> Removal:
    return plan(surveyed(text), purge, parts, backups)


def test_backups_that_lie_in_what_goes_stay() -> None:
    place = "/opt/cvat-analytics/backup"
    found = planned(f"{DEPLOYED}directory {place}\n", purge=True, backups=place)
    assert (place in found.trees, reasons(found)[place]) == (False, "the backups are in it")
    within = planned(purge=True, backups="/var/lib/clickhouse/kept")
    assert (within.data, reasons(within)["/var/lib/clickhouse"]) == ({}, "the backups are in it")
    assert within.users == []
    with pytest.raises(InputError, match="move them elsewhere"):
        planned(backups=f"{made.STATE}/backups")


def test_backups_that_no_setting_names_stay() -> None:
    """The target is `sftp:` to this host, or was changed since."""
    for place in ("/opt/cvat-analytics-backups", "/var/lib/cvat-analytics-backups", "/srv/cvat-analytics"):
        found = planned(f"{DEPLOYED}directory {place}\n", purge=True, backups="sftp:root@a:/elsewhere")
        assert (place in found.trees, reasons(found)[place]) == (False, THEIRS)
    within = planned(f"{DEPLOYED}backups /var/lib/clickhouse/kept\n", purge=True)
    assert (within.data, reasons(within)["/var/lib/clickhouse"]) == ({}, "the backups are in it")
    assert (within.users, reasons(within)["user clickhouse"]) == ([], "whose the data is that stays")
    with pytest.raises(InputError, match="move them elsewhere"):
        planned(f"{DEPLOYED}backups {made.STATE}/restic\n")


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("link", "/usr/local/bin/cvat-analytics"),
        ("file", "/etc/cron.d/cvat-analytics-report"),
        ("file", "/etc/systemd/system/cvat-analytics-report.timer"),
        ("directory", "/opt/cvat-analytics-checkout"),
        ("directory", "/etc/systemd/system/cvat-analytics-gateway.service.d"),
    ],
)
def test_what_bears_the_name_and_no_deploy_has_made_stays(kind: str, path: str) -> None:
    found = planned(f"{DEPLOYED}{kind} {path}\nunit cvat-analytics-report.timer active enabled\n", purge=True)
    assert (path in (*found.files, *found.trees, *found.directories), reasons(found)[path]) == (False, THEIRS)
    assert "cvat-analytics-report.timer" not in found.units


def test_a_checkout_around_what_a_deploy_has_made_stays(tmp_path: Path) -> None:
    checkout = tmp_path / "opt/cvat-analytics"
    for place in ("inventory", ".git/refs", "events-api"):
        (checkout / place).mkdir(parents=True)
    (checkout / "inventory/secrets.json").write_text("passwords")
    found = planned(
        f"{DEPLOYED}directory /opt/cvat-analytics\ndirectory /opt/cvat-analytics/events-api\n", purge=True
    )
    assert "/opt/cvat-analytics/events-api" in found.trees
    assert "/opt/cvat-analytics" in found.directories
    said = on(tmp_path, f"exec 3>&1; {found._remove()}").replace(str(tmp_path), "")
    assert sorted(said.splitlines()) == [
        "left /opt/cvat-analytics/.git",
        "left /opt/cvat-analytics/inventory",
    ]
    assert (checkout / ".git/refs").is_dir()
    assert not (checkout / "events-api").exists()


def reasons(found: Removal) -> dict[str, str]:
    return dict(found.left)


def test_what_a_deploy_has_made_goes_and_what_was_there_before_stays() -> None:
    found = planned()
    assert found.packages == {
        "clickhouse-common-static": "26.8", "clickhouse-server": "26.8", "nginx": "1.22", "nginx-common": "1.22", "vector": "0.58.0-1",
    }  # fmt: skip
    assert found.units == [
        "cvat-analytics-backup.timer", "vector.service", "clickhouse-server.service", "cvat-analytics-firewall.service",
    ]  # fmt: skip
    assert found.again == ["grafana-server.service"]
    assert found.files == [
        "/etc/grafana/provisioning/datasources/cvat-analytics.yaml", "/etc/vector/vector.toml",
    ]  # fmt: skip
    assert (found.trees, found.directories) == (
        ["/etc/cvat-analytics/secrets"], ["/etc/cvat-analytics", "/etc/vector"],
    )  # fmt: skip
    assert (found.is_nothing, found.ends_record, planned(purge=True).ends_record) == (False, False, True)
    assert reasons(found)["/var/lib/grafana"] == "the package grafana stays"


def test_data_stays_with_its_user_unless_it_is_to_be_purged() -> None:
    kept, purged = planned(), planned(purge=True)
    assert (kept.data, kept.kept, kept.users) == ({}, {"/var/lib/clickhouse": 2048}, [])
    assert kept.owned == ["path /var/lib/clickhouse", "user clickhouse", "group clickhouse"]
    assert (purged.data, purged.kept) == ({"/var/lib/clickhouse": 2048}, {})
    assert (purged.users, purged.groups) == (["clickhouse"], ["clickhouse"])


def test_a_disk_that_was_mounted_before_the_first_deploy_holds_the_deploy_s_data() -> None:
    mounted = DEPLOYED.replace("record path /var/lib/clickhouse\n", "")
    kept, purged = planned(mounted), planned(mounted, purge=True)
    assert (kept.kept, kept.users, kept.groups) == ({"/var/lib/clickhouse": 2048}, [], [])
    assert kept.owned == ["data /var/lib/clickhouse", "user clickhouse", "group clickhouse"]
    assert (purged.data, purged.emptied) == ({"/var/lib/clickhouse": 2048}, ["/var/lib/clickhouse"])
    assert purged.users == ["clickhouse"]
    assert reasons(purged)["/var/lib/clickhouse"] == "was there before the first deploy: stays, empty"
    # after the first, whose packages are gone
    later = "".join(
        f"{line}\n"
        for line in mounted.splitlines()
        if not line.startswith(("record package click", "package click"))
    )
    again = planned(f"record data /var/lib/clickhouse\n{later}", purge=True)
    assert (again.data, again.emptied, again.users) == (purged.data, purged.emptied, ["clickhouse"])
    # somebody's own ClickHouse was there: whose the data is nobody can tell
    theirs = planned(mounted.replace("record user clickhouse\n", ""), purge=True)
    assert (theirs.data, theirs.users) == ({}, [])


def test_a_package_of_which_settings_are_left_is_purged_and_is_not_there_for_others() -> None:
    removed = DEPLOYED.replace(
        "package vector\t0.58.0-1\tinstalled", "package vector\t0.58.0-1\tconfig-files"
    )
    removed = removed.replace("package grafana\t12.4.0\tinstalled", "package grafana\t12.4.0\tconfig-files")
    other = (
        "package apache2\t2\tconfig-files\t, \thttpd\npackage certbot\t2\tinstalled\t, nginx | apache2\t\n"
    )
    found = planned(removed + other)
    assert found.packages["vector"] == "0.58.0-1"
    assert "grafana" not in found.packages
    assert reasons(found)["package nginx"] == "certbot needs it"
    assert "the package grafana stays" not in reasons(found).values()


@pytest.mark.parametrize("line", ["unit nginx.service active enabled", "unit nginx.service inactive enabled"])
def test_an_nginx_that_somebody_has_turned_on_since_stays_with_what_it_needs(line: str) -> None:
    found = planned(DEPLOYED.replace("unit nginx.service inactive masked", line))
    assert {"nginx", "nginx-common"} & found.packages.keys() == set()
    assert (
        reasons(found)["package nginx"] == "nginx.service is on, which no deploy does: somebody else uses it"
    )
    assert reasons(found)["package nginx-common"] == "nginx needs it"


def test_the_page_that_nginx_was_installed_with_goes_and_stays_with_it() -> None:
    page, *directories = made.BROUGHT["nginx"]
    there = f"record path {page}\nfile {page}\n" + "".join(
        f"record path {each}\ndirectory {each}\n" for each in directories
    )
    found = planned(DEPLOYED + there)
    assert page in found.files
    assert [each for each in found.directories if each in directories] == directories
    found = planned(DEPLOYED.replace("nginx.service inactive masked", "nginx.service active enabled") + there)
    assert {page, *directories} & {*found.files, *found.directories} == set()
    assert page not in made.noted_packages(["nftables"], "install nftables")
    assert page in made.noted_packages(["nginx"], "install nginx")


@pytest.mark.parametrize("needs", ["nginx", "nginx:any (>= 1)", "httpd", "apache2 | httpd, libc6"])
def test_a_package_that_another_one_needs_stays(needs: str) -> None:
    found = planned(f"{DEPLOYED}package certbot\t2\tinstalled\t, {needs}\t\n")
    assert reasons(found)["package nginx"] == "certbot needs it"
    assert "vector" in found.packages


def test_a_package_for_which_there_is_another_one_does_not_stay() -> None:
    other = "package apache2\t2\tinstalled\t, \thttpd\npackage certbot\t2\tinstalled\t, nginx | apache2\t\n"
    assert "nginx" in planned(DEPLOYED + other).packages


def test_where_no_deploy_was_nothing_is_touched() -> None:
    nowhere = "".join(
        f"{line}\n"
        for line in DEPLOYED.splitlines()
        if not line.startswith("record") and made.STATE not in line
    )
    found = planned(nowhere, purge=True)
    assert found.is_nothing
    assert found.left == []


def test_what_was_cut_off_before_its_last_step_is_not_yet_nothing() -> None:
    last = f"record path /etc/vector\ndirectory {made.STATE}\nfile {made.RECORD}\n"
    assert not planned(last, purge=True).is_nothing
    kept = f"{last}record path /var/lib/clickhouse\ndirectory /var/lib/clickhouse\n"
    assert planned(kept).is_nothing
    assert not planned(f"{kept}file {made.STATE}/vector.applied\n").is_nothing


def test_of_an_earlier_version_s_host_what_apt_has_noted_goes_and_the_rest_is_said() -> None:
    earlier = "".join(f"{line}\n" for line in DEPLOYED.splitlines() if not line.startswith("record"))
    found = planned(f"record earlier\nrecord package vector\n{earlier}")
    assert found.packages == {"vector": "0.58.0-1"}
    assert "/etc/vector/vector.toml" in found.files
    assert "/etc/grafana/grafana.ini" not in found.files
    assert "clickhouse-server.service" in found.units
    said = reasons(found)
    assert (
        said["package grafana"]
        == "may have been there before the first deploy: `apt-get purge grafana` removes it"
    )
    assert "it may have been there before" in said["service grafana-server.service"]
    assert said["/var/lib/clickhouse"] == "the package clickhouse-server, clickhouse-common-static stays"


def test_a_part_that_leaves_takes_nothing_of_the_others_and_no_data() -> None:
    found = planned(parts={"clickhouse"})
    assert found.packages == {"clickhouse-common-static": "26.8", "clickhouse-server": "26.8"}
    assert found.units == ["clickhouse-server.service"]
    assert found.kept == {"/var/lib/clickhouse": 2048}
    assert (found.files, found.trees, found.users, found.again) == ([], [], [], [])


def on(root: Path, command: str, check: bool = True) -> str:
    """Run a command that is for a host, with the host's own directories below `root`."""
    for place in (
        "/var/lib/c", "/etc/vector", "/etc/cvat-analytics", "/etc/apt/preferences.d", "/var/log/apt", "/opt/cvat-analytics",
    ):  # fmt: skip
        command = command.replace(place, f"{root}{place}")
    path = f"{root / 'bin'}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=check, env={**os.environ, "PATH": path}
    )
    return ran.stdout


def stand_in(root: Path, name: str, script: str) -> None:
    """Let the program `name` be a script in commands that are run `on` this root."""
    (root / "bin").mkdir(exist_ok=True)
    (root / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
    (root / "bin" / name).chmod(0o755)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    on(tmp_path, made.begin())
    return tmp_path / made.RECORD.lstrip("/")


def test_what_is_not_there_is_noted_with_its_directories_and_only_once(record: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    note = made.noted(["/etc/vector/a file", "/etc/vector/vector.toml"], ["/etc/vector/all"])
    on(tmp_path, note)
    lines = [line.replace(str(tmp_path), "") for line in record.read_text().splitlines() if "/etc" in line]
    assert sorted(set(lines)) == [
        "path /etc/vector", "path /etc/vector/a file", "path /etc/vector/vector.toml", "tree /etc/vector/all",
    ]  # fmt: skip
    (tmp_path / "etc/vector").mkdir()
    (tmp_path / "etc/vector/vector.toml").write_text("ours")
    before = record.read_text()
    on(tmp_path, made.noted(["/etc/vector/vector.toml"]))
    assert record.read_text() == before
    assert not (tmp_path / made.BEFORE.lstrip("/")).exists()


def test_what_was_there_is_kept_as_it_was_the_first_time(record: Path, tmp_path: Path) -> None:
    file = tmp_path / "etc/vector/vector.toml"
    file.parent.mkdir(parents=True)
    file.write_text("theirs")
    file.chmod(0o640)
    before = record.read_text()
    for content in ("ours", "ours again"):
        on(tmp_path, made.noted(["/etc/vector/vector.toml"]))
        file.write_text(content)
    assert record.read_text() == before
    (kept,) = (each for each in (tmp_path / made.BEFORE.lstrip("/")).rglob("*") if each.is_file())
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("theirs", 0o640)


def test_the_record_of_a_host_that_an_earlier_version_deployed_to_says_so(tmp_path: Path) -> None:
    state = tmp_path / "var/lib/cvat-analytics"
    state.mkdir(parents=True)
    (state / "vector.applied").touch()
    assert "earlier" in on(tmp_path, made.begun()).splitlines()
    on(tmp_path, made.begin())
    (tmp_path / "etc/vector").mkdir(parents=True)
    (tmp_path / "etc/vector/vector.toml").write_text("ours")
    on(tmp_path, made.noted(["/etc/vector/vector.toml"]))
    assert not (state / "before").exists()


def test_what_is_gone_goes_from_the_record_and_what_is_kept_stays_in_it(record: Path, tmp_path: Path) -> None:
    found = planned()
    record.write_text(
        "".join(
            f"{line.removeprefix('record ')}\n" for line in DEPLOYED.splitlines() if line.startswith("record")
        )
    )
    with record.open("a") as file:
        file.write("earlier\nversion grafana 11.0\nmember vector adm\n")
    (record.parent / "vector.applied").touch()
    on(tmp_path, found._forget())
    left = [line.replace(str(tmp_path), "") for line in record.read_text().splitlines()]
    assert "package vector" not in left
    assert {"path /var/lib/clickhouse", "user clickhouse", "group clickhouse"} <= set(left)
    # a deploy after this one finds what is there now, and nothing of what was
    assert [line for line in left if line.startswith(("unit ", "earlier", "version ", "member "))] == []
    assert [path.name for path in record.parent.iterdir()] == ["made"]


def test_the_record_outlives_all_other_notes(record: Path, tmp_path: Path) -> None:
    """Without it a host with notes is one of an earlier version's, whose files are deleted by their names."""
    (record.parent / "vector.applied").touch()
    (record.parent / "previous").mkdir()
    stand_in(tmp_path, "rm", '/bin/rm "$@"; exit 1')
    end = planned(purge=True)._forget()
    on(tmp_path, end, check=False)
    assert [path.name for path in record.parent.iterdir()] == ["made"]
    stand_in(tmp_path, "rm", 'exec /bin/rm "$@"')
    on(tmp_path, end)
    assert not record.parent.exists()
    # which another one may be waiting for
    assert LOCK not in end


def test_data_is_deleted_where_it_is(tmp_path: Path) -> None:
    store = tmp_path / "var/lib/clickhouse"
    command = next(line for name, line in planned(purge=True).steps() if name.startswith("delete "))
    disk = tmp_path / "disk"

    def filled(place: Path) -> None:
        (place / "store/empty").mkdir(parents=True)
        (place / "store/part").write_text("events")
        (place / "store/link").symlink_to(tmp_path)

    filled(store)
    on(tmp_path, command)
    assert not store.exists()
    # a link to a larger disk
    filled(disk)
    store.symlink_to(disk)
    on(tmp_path, command)
    assert (store.is_symlink(), disk.exists()) == (False, False)
    store.symlink_to(disk)
    on(tmp_path, command)
    assert not store.is_symlink()
    # a disk that is mounted there cannot be removed
    filled(store)
    stand_in(tmp_path, "rmdir", "echo busy >&2; exit 1")
    on(tmp_path, command)
    assert list(store.iterdir()) == []
    # one that was there before stays as it was, which is root's
    filled(store)
    stand_in(tmp_path, "chown", f'[ "$*" = "root:root {store}" ]')
    mounted = planned(DEPLOYED.replace("record path /var/lib/clickhouse\n", ""), purge=True)
    on(tmp_path, next(line for name, line in mounted.steps() if name.startswith("delete ")))
    assert list(store.iterdir()) == []


def test_a_host_is_asked_where_links_lead_and_for_backups(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    for place in ("kept/snapshots", "kept/keys", "other/snapshots"):
        (disk / place).mkdir(parents=True)
    (disk / "kept/config").touch()
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "var/lib/clickhouse").symlink_to(disk)
    found = on(tmp_path, SURVEY).splitlines()
    store = tmp_path / "var/lib/clickhouse"
    assert f"leads {store} {disk}" in found
    assert [line for line in found if line.startswith("backups ")] == [f"backups {store}/kept"]


def test_the_questions_to_a_host_are_sh() -> None:
    for text in (
        SURVEY,
        planned(purge=True).script("somebody"),
        made.noted_packages(["vector"], "install vector"),
    ):
        subprocess.run(["sh", "-n", "-c", text], check=True)


def test_no_name_that_is_found_on_a_host_is_a_command(tmp_path: Path) -> None:
    """Anybody who may write there can have called a unit so, and whoever uninstalls is root."""
    odd = f"cvat-analytics-$(echo>{tmp_path}/x;)';echo>{tmp_path}/y;'.timer"
    (tmp_path / "systemctl").write_text(
        f'#!/bin/sh\nfor last; do :; done; echo "$last" >> {tmp_path}/asked\n'
    )
    (tmp_path / "systemctl").chmod(0o755)
    removal = Removal(units=[odd], again=[odd], ends_record=True)
    for name, command in removal.steps():
        if name.startswith(("stop", "let systemd", "start")):
            subprocess.run(["sh", "-c", f"PATH={tmp_path}:$PATH\n{command}"], check=True)
    subprocess.run(["sh", "-n", "-c", removal.script("ann")], check=True)
    assert {each.name for each in tmp_path.iterdir()} == {"systemctl", "asked"}
    assert (tmp_path / "asked").read_text().splitlines() == [odd, "daemon-reload", odd, odd]
