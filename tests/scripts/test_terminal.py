"""Texts from outside never drive the operator's terminal, and a row stays a row; a secret from a pipe is what was meant."""

from __future__ import annotations

import ast
import os
import pty
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import ROOT
from scripts.terminal import one_line, secret_from_file, visible

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
    others = [
        f"{file.name}:{node.lineno}"
        for file in sorted((ROOT / "scripts").glob("*.py"))
        if file.name != "terminal.py"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("click.echo", "click.secho", "print")
    ]
    assert others == []


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
