"""A preview shows what a deploy would do and changes nothing, on the hosts or beside the inventory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cvat_analytics.config.validation import validate
from cvat_analytics.credentials import secrets
from cvat_analytics.credentials.certificates import Authority
from cvat_analytics.rendering import plugin
from tests.deploys.conftest import DEBIAN_12, OFFERS
from tests.hosts.command import Outcome, cvat_analytics

TLS = {"clickhouse_tls": True, "vector_tls": True, "grafana_tls": True}
CONFIGURATION = "/etc/vector/vector.toml"


def written(directory: Path) -> dict[str, bytes]:
    """Return every file below `directory` with what is in it."""
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def preview(directory: Path, **settings: Any) -> Outcome:
    """Run `deploy --dry --diff` against one fake host that has the configuration of an earlier version."""
    answers = {
        "os-release": DEBIAN_12.splitlines(),
        "apt-cache": OFFERS.splitlines(),
        # where it is there already, it need not be fetched
        f"{plugin.NAME}.sha256": [plugin.sha256(validate({}, where="test"), "amd64")],
        f"cat {CONFIGURATION} ": ["an earlier version"],
        f" {CONFIGURATION} ": [f"{'0' * 64} 644 root root 1793000000 {CONFIGURATION}"],
    }
    data = {"fake_responses": answers, "fake_delay": 0, "fake_delay_jitter": 0, "_sudo": False, **settings}
    inventory = directory / "hosts.py"
    inventory.write_text(f"clickhouse = vector = grafana = [('@fake/a', {data!r})]\n")
    # a process of its own: pyinfra writes past this one's standard error
    return cvat_analytics("deploy", "--inventory", inventory, "--dry", "--diff")


def test_a_first_preview_makes_neither_passwords_nor_an_authority(tmp_path: Path) -> None:
    shown = preview(tmp_path, **TLS)
    assert shown.exit_code == 0, shown.text
    assert set(written(tmp_path)) == {"hosts.py"}
    for line in (
        f"Would generate passwords into {tmp_path}/secrets.json.",
        f"Would make the stack's own authority in {tmp_path}/certificates: who connects from outside has to trust",
        "would change  clickhouse: configuration  on @fake/a",
        "create /etc/cvat-analytics/secrets/vector/tls_key",
    ):
        assert line in shown.text
    # what is not secret is shown as it would be
    assert "-an earlier version" in shown.text
    assert '+tls.crt_file = "/run/credentials/vector.service/tls_certificate"' in shown.text
    assert "PRIVATE KEY" not in shown.text


def test_a_preview_leaves_passwords_and_certificates_as_they_are(tmp_path: Path) -> None:
    kept = secrets.generate()
    passwords = tmp_path / "secrets.json"
    # as an earlier version has left it, which did not need the last one
    passwords.write_text(json.dumps(dict(list(kept.items())[:-1])))
    passwords.chmod(0o600)
    authority = Authority(tmp_path / "certificates")
    # for other names than it would be now
    authority.issue("clickhouse-fake-a", ["old.example.org"])
    before = written(tmp_path)
    shown = preview(tmp_path, **TLS)
    assert shown.exit_code == 0, shown.text
    assert written(tmp_path).items() - before.items() == {("hosts.py", (tmp_path / "hosts.py").read_bytes())}
    assert "create /etc/clickhouse-server/cvat-analytics-key.pem" in shown.text
    assert f"Would generate passwords into {passwords}" in shown.text
    assert "Would make" not in shown.text
    assert kept.mask(shown.text) == shown.text


def test_passwords_that_a_setting_names_must_be_there_for_a_preview_too(tmp_path: Path) -> None:
    shown = preview(tmp_path, secrets_file=str(tmp_path / "elsewhere.json"))
    assert shown.exit_code == 2
    assert "elsewhere.json: there is none. Restore it" in shown.text
