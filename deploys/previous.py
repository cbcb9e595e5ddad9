"""What a part ran with before an upgrade is kept on its host until the next one, with a script that brings it back.

Kept are the packages (packed anew from what is installed, so that no package source needs to have them any more), the files that
a deploy writes, Grafana's plugin, the events API's program, and in `data` its database and what waits in Vector's buffer, as they were when the part stopped.
Passwords, users, certificates and keys stay those of the deploy: whoever was removed, or has been given another password, does not come back.
`open` stands beside them from then on until the upgraded part has proved itself: what was kept from before a deploy that was cut off is
not replaced by the next one's. `stopped` is dated with the moment from which on the new version may have run (operations.stopped).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from pyinfra import host, logger
from pyinfra.api import StringCommand, operation

from cvat_analytics.config import deployed
from cvat_analytics.config.versions import BROUGHT_BACK, NOT_BROUGHT_BACK, OWN, PREVIOUS, Step
from cvat_analytics.rendering import plugin as plugins
from cvat_analytics.rendering import programs, tls
from cvat_analytics.rendering.files import UNITS, Paths, RenderedFile
from deploys import operations, package_operations, packages
from deploys.facts import STATE_DIRECTORY, Files, FileText, PackageVersions, Unit, digest_note
from deploys.operations import Commands
from deploys.plan import Plan

_COPY_OF_A_DATABASE = """
import sqlite3, sys
with sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True) as there, sqlite3.connect(sys.argv[2]) as copy:
    there.backup(copy)
    found = copy.execute("PRAGMA integrity_check").fetchone()[0]
sys.exit(None if found == "ok" else f"{sys.argv[1]}: the copy is damaged ({found}); nothing has been changed")
"""


def keep(plan: Plan, component: str, files: Sequence[RenderedFile], probe: str) -> None:
    """Keep what `component` runs with, where this run changes its version.

    `files`: what a deploy writes for it; `probe`: a shell command that succeeds when it is healthy.
    """
    steps = [
        step
        for step in plan.steps
        if step.part == component or (component, step.part) == ("grafana", "plugin")
    ]
    if steps:
        kept(
            name=f"{component}: what it runs with is kept",
            component=component,
            names=list(packages.versions(component, plan.settings)),
            paths=_paths(plan, component, files),
            steps=[str(step) for step in steps],
            script=back(component, steps, probe, plan.settings.health_timeout.total_seconds()),
        )


def _paths(plan: Plan, component: str, files: Sequence[RenderedFile]) -> list[str]:
    """Return the files that come back with `component`: those that this run writes for it, and what no other part has of the last deploy's.

    Secrets that this run writes are not among them; one that it takes away is, as what ran before needs it.
    """
    others = [each for each in plan.topology.components(plan.context.host) if each != component]
    from deploys import record  # which knows all parts, and they know this module

    of_others = {file.path for file in record.files(plan, others)}
    # nobody who was removed comes back, and no password or key that was exchanged
    paths = plan.context.paths
    certificates = paths.authority, *tls.clickhouse_files(paths)
    current = {
        each.path for each in files if each.path.startswith(f"{paths.secrets}/") or each.path in certificates
    }
    noted = host.get_fact(FileText, path=deployed.FILES).splitlines()
    there = {line.split(" ", 4)[4] for line in noted if line.count(" ") >= 4}
    # apt's keys stay: one that a mirror has is not this part's alone
    written = packages.apt_files(component, plan.settings) if component in packages.VENDORS else []
    apt = [file.path for file in written if not file.path.startswith(packages.KEYRINGS)]
    wanted = {file.path for file in files} | there - of_others
    return sorted((wanted | set(apt) - of_others) - current)


@operation()
def kept(
    component: str, names: Sequence[str], paths: Sequence[str], steps: Sequence[str], script: str
) -> Commands:
    """Keep packages and files of a part, unless those of before a deploy that was cut off are kept already.

    + component: whose unit runs with them
    + names: its packages
    + paths: files that a deploy writes
    + steps: what is about to happen, for people
    + script: what brings all of it back
    """
    unit = UNITS[component]
    state = host.get_fact(Unit, unit=unit)
    installed = host.get_fact(PackageVersions, packages=list(names))
    if not state.active or host.get_fact(Files, paths=[f"{PREVIOUS}/{unit}/open"]):
        host.noop(
            f"{unit} does not run, or not yet with what a deploy that was cut off was to bring: what was kept stays"
        )
        return
    for step in steps:
        host.log(step, logger.info)
    place, there = f"{PREVIOUS}/{unit}", Paths()
    # what a way back has set aside was kept until now, as all of it
    aside = "".join(
        f" {PurePosixPath(path[0]).parent}/newer*"
        for name, path in operations.DATA.items()
        if name == component
    )
    yield f"rm -rf {place}{aside} && install -d -m 700 {PREVIOUS} {place}"
    for name in names:
        if name in installed:
            yield _packed(name, place)
    listed = " ".join(map(shlex.quote, paths))
    yield (
        f'cd / && for file in {listed}; do [ -e "$file" ] && echo "$file" >> {place}/files || echo "$file" >> {place}/absent; done; '
        f"( umask 077 && tar -cpPf {place}/files.tar -T {place}/files )"
    )
    if tree := _tree(component):
        yield f"[ ! -d {tree} ] || cp -a {tree} {digest_note(tree)} {place}/"
    if component == "grafana":
        database = f"{there.grafana_data}/grafana.db"
        yield (
            f"if [ ! -e {database} ]; then true; elif python3 -c 'import sqlite3' 2>/dev/null; then "
            # the one that counts is made when it stops, where it is not the package's script that exchanges it
            f"mkdir {place}/data && python3 -c {shlex.quote(_COPY_OF_A_DATABASE)} {database} {place}/data/grafana.db; "
            # without it, a copy is whole while nobody writes
            f"else mkdir {place}/data && systemctl stop {unit} && cp {database}* {place}/data/; copied=$?; systemctl start {unit}; [ $copied = 0 ]; fi"
        )
    yield StringCommand(f"( umask 077 && cat > {place}/back )", _stdin=script.splitlines())
    yield f"rm -f {STATE_DIRECTORY}/{unit}.applied && echo {shlex.quote('; '.join(steps))} > {place}/open"


def _tree(component: str) -> str:
    """Return the directory that a deploy unpacks for a component (operations.unpacked); empty where there is none."""
    paths = Paths()
    trees = {
        "grafana": f"{paths.grafana_plugins}/{plugins.NAME}",
        "events_api": paths.events_api_program,
    }
    return trees.get(component, "")


def _packed(name: str, place: str) -> str:
    """Return the command that makes a package of what is installed of the package `name`, as dpkg-repack(1) does."""
    tree = f"{place}/tree"
    # what has one slash is a directory, or the link in place of one where /usr is merged
    return (
        f"rm -rf {tree} && mkdir -m 755 {tree} {tree}/DEBIAN && cd / && "
        f'dpkg -L {name} | while read -r file; do [ "${{file#/*/}}" != "$file" ] && {{ [ -h "$file" ] || [ -f "$file" ]; }} && printf "%s\\0" "$file"; done '
        f"| tar -cp --null --no-recursion -T - 2>/dev/null | tar -xp -C {tree} && "
        f"for part in preinst postinst prerm postrm triggers shlibs; do [ ! -e /var/lib/dpkg/info/{name}.$part ] "
        f"|| cp -p /var/lib/dpkg/info/{name}.$part {tree}/DEBIAN/$part; done && "
        f"{{ [ ! -e /var/lib/dpkg/info/{name}.conffiles ] || while read -r file; do [ ! -e {tree}/$file ] || echo $file; done "
        f"< /var/lib/dpkg/info/{name}.conffiles > {tree}/DEBIAN/conffiles; }} && "
        # an entry of dpkg's own for a configuration file has its checksum, and a package's has not
        f"dpkg-query -s {name} | awk '/^[^ ]/ {{keep = !/^(Status|Conffiles|Config-Version):/}} keep' > {tree}/DEBIAN/control && "
        f"dpkg-deb -Zgzip -z1 --build {tree} {place}/{name}.deb > /dev/null && rm -rf {tree}"
    )


def back(component: str, steps: Sequence[Step], probe: str, timeout: float) -> str:
    """Return the script that brings `component` back to what is kept beside it, and says in its last line what has come of it.

    Nothing of the newer version's data is removed: it is set aside in the same directory, and comes back where the packages do not.
    """
    unit, there = UNITS[component], Paths()
    place = f"{PREVIOUS}/{unit}"
    lines = [
        "#!/bin/sh",
        "# Bring back what is kept here. Written by cvat-analytics (docs/how-to/upgrade.md).",
        f"cd {place} || exit 1",
    ]
    if component not in OWN:
        package = programs.PACKAGES[component]
        # started by a crash, or as the host was booted, before a deploy has
        lines.append(
            f"[ -e stopped ] || ! {programs.has_run(unit, package, 'open')} || touch -r {programs.listed(package)} stopped"
        )
    one_way = [step for step in steps if step.one_way and step.direction == "up"]
    if component == "clickhouse" and one_way:
        lines.append(
            f"written=$([ ! -e stopped ] || find {there.clickhouse_data}/store -mindepth 3 -maxdepth 3 -type d -newer stopped -print -quit)\n"
            f'if [ "$written" ]; then echo "{NOT_BROUGHT_BACK}: {one_way[0]}: the new version has written data already ($written), which the old one may '
            'not be able to read"; exit 0; fi'
        )
    data = operations.DATA.get(component, ())
    lines += [
        "said=; undo() { :; }; echo > back.log",
        f'failed() {{ undo; tar -xpPf now.tar; systemctl daemon-reload; systemctl start {unit}; echo "{NOT_BROUGHT_BACK}: {component}: $1 '
        f'({place}/back.log says why); {unit} was started with what is there, and is $(systemctl is-active {unit})"; exit 1; }}',
        f"systemctl stop {unit}",
        "( umask 077; tar -cpPf now.tar -T files 2>> back.log ); tar -xpPf files.tar",
        *([_data_back(str(PurePosixPath(data[0]).parent), data)] if data else []),
        *([] if component in OWN else [_packages_back(place)]),
        *_tree_back(component),
        # the packages' scripts may have changed whose they are
        "tar -xpPf files.tar; [ ! -e absent ] || xargs -d '\\n' rm -f < absent",
        f"rm -f {STATE_DIRECTORY}/{unit}.applied now.tar open; systemctl daemon-reload; systemctl reset-failed {unit} 2>/dev/null; systemctl restart {unit}",
        operations.wait_until(
            f"{{ {probe}; }}", timeout, f"{unit} does not become healthy with what it had before either"
        ),
        f'echo "{BROUGHT_BACK}: {component}$said $(date +%s -r stopped 2>/dev/null)"',
    ]
    return "\n".join(lines) + "\n"


def _tree_back(component: str) -> list[str]:
    """Return the line that brings back the directory that a deploy unpacks for a component. Without its note the next deploy unpacks anew."""
    if not (tree := _tree(component)):
        return []
    note = PurePosixPath(digest_note(tree)).name
    what = "plugin" if component == "grafana" else "program"
    return [
        f"[ ! -e {note} ] || {{ rm -f {STATE_DIRECTORY}/{note} && rm -rf {tree}.new && cp -a {PurePosixPath(tree).name} {tree}.new && rm -rf {tree} && "
        f"mv {tree}.new {tree} && cp -a {note} {STATE_DIRECTORY}/; }} 2>> back.log || {{ rm -rf {tree}.new; failed 'its {what} could not be brought back'; }}"
    ]


def _packages_back(place: str) -> str:
    """Return the line that installs the packages that are kept."""
    return (
        f"{package_operations.APT_GET} -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null --no-install-recommends "
        f"--allow-downgrades install {place}/*.deb >> back.log 2>&1 || failed 'its packages could not be brought back, and its data is as it was'"
    )


def _data_back(directory: str, paths: Sequence[str]) -> str:
    """Return the lines that bring back what is kept of `paths`, all in `directory`, where the newer version has run; `said` tells of it.

    The copies are there before anything of the newer version's is renamed, and all else is renaming too.
    """
    patterns = " ".join(paths)
    return f"""if [ -e stopped ]; then
  aside={directory}/newer; [ ! -e $aside ] || aside=$aside-$(date -u +%Y%m%d-%H%M%S)
  rm -rf {directory}/.back
  {{ mkdir {directory}/.back $aside && {{ [ ! -d data ] || cp -a data/. {directory}/.back/; }}; }} 2>> back.log || {{ rm -rf {directory}/.back; rmdir $aside; failed 'there was no room for its data of before'; }}
  undo() {{ for each in {patterns}; do rm -rf "$each"; done; mv $aside/* {directory}/ 2>/dev/null; rmdir $aside; }}
  owner=$(stat -c %U:%G {directory}/.)
  for each in {patterns}; do [ ! -e "$each" ] || {{ owner=$(stat -c %U:%G "$each"); mv "$each" $aside/; }}; done
  for each in {directory}/.back/*; do [ ! -e "$each" ] || {{ chown -R "$owner" "$each"; [ -d "$each" ] || chmod 640 "$each"; mv "$each" {directory}/; }}; done
  rmdir {directory}/.back
  said=", with its data of $(date -u '+%F %T' -r data 2>/dev/null || echo 'no time') UTC; what it had since is in $aside"
fi"""
