"""What a host needs to make backups by itself: the agent, what it is told, its passwords, its units, and its way to the target.

Every host backs up the parts that it has, all of them into one repository; the host of ClickHouse completes the backup.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import re
import tarfile
from collections.abc import Mapping
from functools import cache
from hashlib import sha256

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import LIBRARY
from cvat_analytics.config.settings import GROUPS, Settings
from cvat_analytics.operate.backup import inventory, questions
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.operate.backup.keys import RECOVERY_KEY, derived_password
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import BACKUP, BACKUP_VERIFY, Paths, RenderedFile
from cvat_analytics.rendering.render import render

_S3 = {"AWS_ACCESS_KEY_ID": "backup_s3_access_key", "AWS_SECRET_ACCESS_KEY": "backup_s3_secret_key"}
_SSH = re.compile(r"sftp:(?://)?(?:(?P<user>[^@]+)@)?(?P<host>\[[^]]+\]|[^:/]+)")


def check(settings: Settings, secrets: Mapping[str, str]) -> None:
    """Raise InputError when a key that the target asks for is not among the `secrets`."""
    if settings.backup_target.startswith("s3:"):
        for name in _S3.values():
            if not secrets.get(name):
                raise InputError(
                    Code.SECRET_NOT_GIVEN,
                    f"setting 'backup_target': {settings.backup_target} wants a key, and the secrets file has no {name}. "
                    f"Give it with `cvat-analytics secrets set {name}`",
                )


def wanted(context: Context) -> bool:
    """Return whether the host backs something up: what is in none of these groups keeps nothing."""
    return bool(context.settings.backup_target) and bool(
        set(GROUPS) & set(context.topology.components(context.host))
    )


def packages(settings: Settings) -> list[str]:
    """Return the distribution's packages that a host needs to make backups."""
    return ["restic", "python3", *(["openssh-client"] if settings.backup_target.startswith("sftp:") else [])]


def directory(settings: Settings) -> str:
    """Return the directory of this host that is the target; empty where the target is elsewhere."""
    return settings.backup_target if settings.backup_target.startswith("/") else ""


def login(settings: Settings) -> str:
    """Return who logs in where by SSH to reach the target, as in `backup@host`; empty where nobody does."""
    found = _SSH.match(settings.backup_target)
    return "@".join(filter(None, (found["user"] or "root", found["host"].strip("[]")))) if found else ""


def ssh_key(paths: Paths) -> str:
    """Return the file with the key by which root of the host logs in at the target."""
    return f"{paths.secrets}/{BACKUP}/ssh_key"


def ssh_configuration(paths: Paths) -> str:
    """Return the file that says how root of the host logs in at the target."""
    return f"{paths.root}/etc/ssh/ssh_config.d/{BACKUP}.conf"


def config(context: Context) -> Config:
    """Return what the agent of this host is told."""
    settings, paths, here = context.settings, context.paths, context.topology.components(context.host)
    store = "clickhouse" in here
    return Config(
        host=context.host,
        state=paths.backup_data,
        target=settings.backup_target,
        password_file=f"{paths.secrets}/{BACKUP}/repository_password",
        environment_file=f"{paths.secrets}/{BACKUP}/s3" if settings.backup_target.startswith("s3:") else "",
        clickhouse_url=f"http://127.0.0.1:{settings.clickhouse_http_port}" if store else "",
        clickhouse_password_file=f"{paths.secrets}/{BACKUP}/clickhouse_password" if store else "",
        database=settings.database,
        staging=f"{paths.clickhouse_data}/backups" if store else "",
        checks=f"{paths.backup_config}/checks.json" if store else "",
        inventory=f"{paths.backup_config}/{inventory.FILE_NAME}" if store else "",
        others=_others(context) if store else [],
        grafana_database=f"{paths.grafana_data}/grafana.db" if "grafana" in here else "",
        journal=f"{paths.vector_data}/journal" if "vector" in here else "",
        keep_daily=settings.backup_keep_daily,
        keep_weekly=settings.backup_keep_weekly,
        keep_monthly=settings.backup_keep_monthly,
        versions={
            "cvat-analytics": importlib.metadata.version("cvat-analytics"),
            "vector": settings.vector_version,
            "grafana": settings.grafana_version,
        },
    )


def _others(context: Context) -> list[str]:
    """Return what the other hosts back up, as the agent names it."""
    parts = {"grafana": "grafana", "vector": "journal"}
    return [
        f"{part} of {host}"
        for component, part in parts.items()
        for host in context.topology.groups[component]
        if host != context.host
    ]


def files(context: Context) -> list[RenderedFile]:
    """Return the files of a host that backs something up, units included."""
    settings, paths, told = context.settings, context.paths, config(context)
    names = context.variables() | {
        "backup": told,
        "directory": directory(settings),
        "login": login(settings).partition("@")[2],
        "ssh_key": ssh_key(paths),
    }
    secret = {told.password_file: derived_password(context.secrets[RECOVERY_KEY])}
    if told.clickhouse_password_file:
        secret[told.clickhouse_password_file] = context.secrets["clickhouse_admin"]
    if told.environment_file:
        secret[told.environment_file] = "".join(
            f"{name}={context.secrets[key]}\n" for name, key in _S3.items()
        )
    templates = {
        f"{paths.root}/etc/systemd/system/{unit}": f"systemd/{unit}.j2"
        for timer in timers(context)
        for unit in (timer, timer.replace(".timer", ".service"))
    }
    if names["login"]:
        templates[ssh_configuration(paths)] = "systemd/backup-ssh.conf.j2"
    return [
        *(RenderedFile(path, text, mode="600", effect="none", secret=True) for path, text in secret.items()),
        # with addresses and names of places in it, and read by nobody but root
        RenderedFile(f"{paths.backup_config}/agent.json", told.text(), mode="600", effect="none"),
        *([RenderedFile(told.checks, _checks(), mode="600", effect="none")] if told.checks else []),
        *(RenderedFile(path, render(template, names), effect="none") for path, template in templates.items()),
    ]


def timers(context: Context) -> list[str]:
    """Return the timers of a host that backs something up."""
    units = [BACKUP, *([BACKUP_VERIFY] if context.host == context.topology.clickhouse_host else [])]
    return [f"{unit}.timer" for unit in units]


@cache
def _checks() -> str:
    """Return what a restored backup is asked, made once: a second, for each host and each time that its files are wanted."""
    return questions.text()


def left_over(context: Context) -> list[str]:
    """Return the paths, files and directories, of what a host that backs nothing up, or in another way, is to have no longer."""
    paths = context.paths
    units = f"{paths.root}/etc/systemd/system"
    every = [f"{units}/{unit}.{kind}" for unit in (BACKUP, BACKUP_VERIFY) for kind in ("service", "timer")]
    every += [ssh_configuration(paths), f"{paths.secrets}/{BACKUP}/s3"]
    if not wanted(context):
        return [*every, paths.backup_config, f"{paths.secrets}/{BACKUP}", paths.backup_program]
    there = {file.path for file in files(context)}
    return [path for path in every if path not in there]


def program() -> dict[str, bytes]:
    """Return the agent's files by their path below the directory in which it is installed."""
    agent = LIBRARY / "operate" / "backup" / "agent"
    packages = [LIBRARY, LIBRARY / "base", LIBRARY / "operate", LIBRARY / "operate" / "backup"]
    codes = LIBRARY / "base" / "codes.py"
    found = [*(each / "__init__.py" for each in packages), codes, *sorted(agent.rglob("*.py"))]
    return {str(file.relative_to(LIBRARY.parent)): file.read_bytes() for file in found}


def digest() -> str:
    """Return what stands for the agent's content."""
    hashed = sha256()
    for path, content in program().items():
        hashed.update(f"{path}\0{len(content)}\0".encode() + content)
    return hashed.hexdigest()


def archive() -> bytes:
    """Return the agent as a tar.gz."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as target,
    ):
        for path, content in program().items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o644
            target.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
