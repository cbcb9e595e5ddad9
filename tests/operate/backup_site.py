"""A stack's database on the tests' engine with an agent of backups, and what there is in it as numbers."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

from cvat_analytics.base.project import ROOT
from cvat_analytics.operate.backup import keys, reaching, restore, running
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.pipeline import journal
from cvat_analytics.store import migrations
from tests.clickhouse import Store, way_to
from tests.missing import give_up

KEY = "the recovery key, in the tests only"
NOW = datetime.now(UTC).replace(microsecond=0)

SUMS = {
    "events": "SELECT count(), sum(cityHash64(timestamp, scope, user_id, payload, received_at)) FROM events FINAL",
    "noted": "SELECT sum(inserted) FROM event_days",
    "days of work": "SELECT sum(client_events), uniqExact(day) FROM working_time_days",
    "dead letters": "SELECT count(), sum(cityHash64(*)) FROM events_dead_letter FINAL",
    "changes of jobs": "SELECT count() FROM job_changes FINAL",
    "names": "SELECT arraySort(groupArray(toString(tuple(*)))) FROM user_names",
    "erased": "SELECT groupArray(user_id) FROM erasures FINAL",
}


@dataclass(frozen=True)
class Site:
    """One database, and one agent that knows it."""

    store: Store
    config: Config
    directory: Path

    @property
    def file(self) -> Path:
        """Write what the agent is told, and return the file."""
        file = self.directory / "agent.json"
        file.write_text(self.config.text())
        return file

    @property
    def reached(self) -> reaching.Reached:
        """Return it as the commands do."""
        return reaching.Reached(
            self.agent_of,
            way_to(self.store.context),
            self.directory / "erasures.json",
            lambda: [("live", reaching.found(lambda: journal.find(Path(self.config.journal))))],
            lambda place: reaching.found(lambda: journal.find(Path(place))),
            lambda: running.held_here(self.file),
            {self.config.host: self.agent_of},
        )

    def agent(self, *arguments: str, said: list[running.Said] | None = None) -> running.Said:
        """Run the agent."""
        return running.here(self.file, arguments, said.append if said is not None else lambda one: None)

    def agent_of(self, arguments: Sequence[str], tell: running.Tell) -> running.Said:
        """Run the agent as the commands do."""
        return running.here(self.file, arguments, tell)

    def begun(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the agent, for whoever wants to kill it."""
        return running.started(self.file, arguments)

    def sums(self) -> dict[str, Any]:
        """Return what there is."""
        return {name: json.loads(self.store.post(sql))["data"] for name, sql in SUMS.items()}

    def killed(self, step: str, *arguments: str) -> None:
        """Kill the agent as soon as it has begun that step of what it is to do."""
        with self.begun(*arguments) as process:
            for line in process.stdout or ():
                said = json.loads(line)
                if (said["step"], said["state"]) == (step, "begun"):
                    process.kill()
                    return
        raise AssertionError(f"{arguments} had no step {step}: {said}")

    def restore(self, *chosen: str, name: str = "", tell: running.Tell = lambda said: None) -> running.Said:
        """Restore as the command does, and return the manifest."""
        reached = self.reached
        with reached.hold():
            return restore.run(reached, name, chosen, tell).manifest


def site(store: Store, directory: Path, target: str, checks: Path, *, is_todays: bool = True) -> Site:
    """Return a database that knows its migrations, where its schema `is_todays`, with an agent whose files are below `directory`."""
    if not shutil.which("restic"):
        give_up("needs restic: tests/hosts/prepare, or apt install restic")
    if is_todays:
        store.post("TRUNCATE TABLE schema_migrations")
        for script in migrations.read(ROOT / "clickhouse"):
            store.post(migrations.record(script, store.database))
    directory.mkdir()
    places = {
        "password": keys.derived_password(KEY),
        "login": store.context.secrets["clickhouse_admin"],
    }
    for name, text in places.items():
        (directory / name).write_text(text + "\n")
    (directory / "journal").mkdir()
    config = Config(
        host="host",
        state=str(directory / "state"),
        target=target,
        password_file=str(directory / "password"),
        clickhouse_url=f"http://127.0.0.1:{store.http_port}",
        clickhouse_password_file=str(directory / "login"),
        database=store.database,
        staging=f"{store.context.paths.clickhouse_data}/backups",
        checks=str(checks),
        journal=str(directory / "journal"),
    )
    return Site(store, config, directory)


def made_quick_to_open(repository: Path, password: str) -> None:
    """Write the key of a repository of restic's anew, so that its password is tried at once: each run takes half a second of that otherwise.

    The repository stays what it is, and restic does all that it does (its design, "Keys, Encryption and MAC").
    """
    (file,) = (repository / "keys").iterdir()
    about = json.loads(file.read_text())

    def derived() -> tuple[bytes, bytes, bytes]:
        key = hashlib.scrypt(
            password.encode(),
            salt=base64.b64decode(about["salt"]),
            n=about["N"],
            r=about["r"],
            p=about["p"],
            dklen=64,
            maxmem=2**28,
        )
        return key[:32], key[32:48], key[48:]

    def ciphered(key: bytes, nonce: bytes, data: bytes) -> bytes:
        return Cipher(algorithms.AES(key), modes.CTR(nonce)).encryptor().update(data)

    data = base64.b64decode(about["data"])
    nonce = data[:16]
    plain = ciphered(derived()[0], nonce, data[16:-16])
    about["N"] = 2
    encryption, k, r = derived()
    sealed = ciphered(encryption, nonce, plain)
    mac = Poly1305.generate_tag(r + Cipher(algorithms.AES(k), modes.ECB()).encryptor().update(nonce), sealed)
    about["data"] = base64.b64encode(nonce + sealed + mac).decode()
    text = json.dumps(about).encode()
    file.unlink()
    file.with_name(hashlib.sha256(text).hexdigest()).write_bytes(text)


def events(count: int, *, user: int = 1, first: int = 0, month: int = 0) -> list[dict[str, Any]]:
    """Return events a minute apart, of this hour or of that of so many 31 days ago."""
    begin = NOW - timedelta(days=31 * month, hours=2)
    return [
        {
            "scope": "change:frame",
            "source": "client",
            "timestamp": (begin + timedelta(seconds=number)).strftime("%Y-%m-%d %H:%M:%S.000"),
            "duration": 10,
            "user_id": user,
            "user_name": f"user {user}",
            "job_id": 1,
            "payload": json.dumps({"number": number}),
        }
        for number in range(first, first + count)
    ]
