"""Texts from outside never drive the operator's terminal, and a row stays a row; a secret from a pipe is what was meant."""

from __future__ import annotations

import ast
import json
import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import ROOT
from cvat_analytics.pipeline.dead_letters import Choice, DeadLetters
from scripts.cli import main
from scripts.terminal import one_line, secret_from_file, visible
from tests.clickhouse import Store, way_to

PROGRAM = "import sys; from scripts.terminal import echo, one_line; echo(one_line(sys.argv[1])); echo(sys.argv[1], err=True)"


@given(st.text())
@example("\x1b]0;PWNED\x07\x1b[2J\x1b[31mnot json at all")
@example("line\nbreak \x9b31m \u202egpj.exe \u2028 \ud800")
def test_nothing_that_drives_a_terminal_is_left(text: str) -> None:
    shown = visible(text)
    assert [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\n\t"] == []
    assert not set(shown) & set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert len(one_line(text).splitlines()) <= 1
    if text.isprintable():
        assert shown == text, "names in any script stay as they are"


def test_on_a_real_terminal_it_is_text() -> None:
    main, side = pty.openpty()
    text = "\x1b]0;PWNED\x07\x1b[2J\x1b[31mred\r\n佐藤"
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, text], cwd=ROOT, stdin=side, stdout=side, stderr=side, check=True
    )
    assert process.returncode == 0
    os.close(side)
    shown = os.read(main, 10_000).decode()
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "\\x1b]0;PWNED\\x07\\x1b[2J\\x1b[31mred\\r\\n佐藤\r\n" in shown


def test_every_command_prints_in_that_way() -> None:
    """Whatever a command prints or asks goes through scripts/terminal.py, one that is written tomorrow included."""
    printing = ("echo", "secho", "confirm", "prompt", "progressbar", "echo_via_pager", "clear", "edit")
    forbidden = {"print", "sys.stdout.write", "sys.stderr.write", *(f"click.{name}" for name in printing)}
    others = [
        f"{file.name}:{node.lineno}"
        for file in sorted((ROOT / "scripts").glob("*.py"))
        if file.name != "terminal.py"
        for node in ast.walk(ast.parse(file.read_text()))
        if (isinstance(node, ast.Call) and ast.unparse(node.func) in forbidden)
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "click"
            and any(each.name in printing for each in node.names)
        )
    ]
    assert others == []


def test_the_library_prints_nothing() -> None:
    """Of what is no service and no program of its own: there are no other ways to the operator's terminal."""
    others = [
        str(file.relative_to(ROOT))
        for file in sorted((ROOT / "cvat_analytics").rglob("*.py"))
        # the agent of backups writes JSON, which has no control character, for whoever started it
        if file.name != "__main__.py"
        and file.parts[-2:] not in (("embedded", "engine.py"), ("agent", "report.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("print", "sys.stdout.write", "click.echo")
    ]
    assert others == []


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
@example("\x7f \x9b31m \x85 \u2028 \u202e \ufeff \x1b]0;x\x07")
def test_json_says_what_it_said(value: object) -> None:
    for ascii_only in (True, False):
        assert json.loads(visible(json.dumps(value, ensure_ascii=ascii_only))) == value


HOSTILE = "ann\x1b[2J\x1b[31mred\x1b]0;PWNED\x07\x9b1m\x7f\u202egpj\nnext\trow"


@pytest.fixture(scope="module")
def store(shared_engine: Store) -> Iterator[Store]:
    """Return an engine in which people have put what drives a terminal wherever a text is kept."""
    with shared_engine.another() as engine:
        yesterday = datetime.now(UTC) - timedelta(days=1)
        texts = dict.fromkeys(
            ("user_name", "user_email", "obj_name", "obj_val", "org_slug", "payload"), HOSTILE
        )
        at = {"timestamp": f"{yesterday:%Y-%m-%d} 12:00:00.000", "user_id": 300, "job_id": 1, "task_id": 1}
        later = at | {"timestamp": f"{yesterday:%Y-%m-%d} 12:01:00.000"}
        engine.insert([{"scope": "load:job", "source": "client", **each, **texts} for each in (at, later)])
        row = {
            "received_at": f"{yesterday:%Y-%m-%d} 12:00:00",
            "reason": "invalid_json",
            "message": HOSTILE,
            "original": HOSTILE,
        }
        engine.post(f"INSERT INTO incoming_dead_letters FORMAT JSONEachRow {json.dumps(row)}", user="vector")
        engine.refresh()
        yield engine


@pytest.mark.parametrize(
    "command",
    [
        ["dead-letters", "list"], ["dead-letters", "show", "LETTER"],
        ["working-time", "compare", "--user", "300", "--at-least", "1s"], ["dead-letters", "list", "--json"], ["dead-letters", "show", "LETTER", "--json"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_people_have_stored_stays_text(
    store: Store, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    access = way_to(store.context)
    monkeypatch.setattr("scripts.target.Target.reach", lambda self, **options: nullcontext(access))
    letters = DeadLetters(access)
    monkeypatch.setattr("scripts.dead_letters._opened", lambda *given: nullcontext(letters))
    (letter,) = letters.letters(Choice(), 1, 100)
    result = CliRunner().invoke(main, [letter.id if word == "LETTER" else word for word in command])
    driving = [
        c for c in result.output if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c not in "\n\t"
    ]
    assert driving == [], result.output
    assert "\\x1b[2J" in result.output or "\\u001b[2J" in result.output, result.output
    if "--json" in command:
        answer = json.loads(result.output)
        assert (answer if "original" in answer else answer["letters"][0])["original"] == HOSTILE
    elif "show" not in command:
        assert "\nnext" not in result.output, "a row stays a row"


@pytest.mark.parametrize("text", ["secret", "secret\n", "secret\r\n", "\ufeffsecret\r\n", "\ufeffsecret"])
def test_a_secret_has_no_line_ending_and_no_mark(tmp_path: Path, text: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(text.encode())
    assert secret_from_file(file) == "secret"
    program = "from scripts.terminal import secret_from_pipe; assert secret_from_pipe() == 'secret'"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, input=text.encode(), check=True)


@pytest.mark.parametrize("data", [b"se\xe9cret\n", b"\xff", b"\xed\xa0\x80"])
def test_a_secret_that_is_not_utf8_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(data)
    with pytest.raises(InputError, match=f"file {file}: is not UTF-8"):
        secret_from_file(file)
    program = (
        "from cvat_analytics.base.errors import InputError\nfrom scripts.terminal import secret_from_pipe\n"
        "try:\n    secret_from_pipe()\nexcept InputError as error:\n    print(error)"
    )
    for mode in ("strict", "surrogateescape"):
        done = subprocess.run(
            [sys.executable, "-c", program], input=data, capture_output=True, check=True, env=os.environ | {"PYTHONIOENCODING": f"utf-8:{mode}"}
        )  # fmt: skip
        assert b"standard input: is not UTF-8" in done.stdout, done
