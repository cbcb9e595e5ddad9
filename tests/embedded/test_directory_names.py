"""The embedded stack works in a directory of any name, or refuses it before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cvat_analytics.base.errors import InputError
from cvat_analytics.embedded.starting import refuse_name
from scripts.cli import main


@pytest.mark.parametrize(
    "name",
    ["q'u", 'q"u', "a&b", "<x>", "t{{ x }}", "back\\slash", "new\nline", "a#b", "a;b", "a*", "\udcff"],
    ids=ascii,
)
def test_what_configuration_files_would_misread_is_refused_and_nothing_is_written(
    tmp_path: Path, name: str
) -> None:
    result = CliRunner().invoke(main, ["up", "--detach", "--dir", str(tmp_path / name)])
    assert result.exit_code == 2, result.output
    assert "would be misread in configuration files. Choose another with --dir" in result.output
    assert len(result.output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a b", "日本語", "Zoë", "100%", "$HOME", "(1) [2]", "=,+@~^!:.-_"])
def test_blanks_signs_and_letters_of_any_script_are_fine(tmp_path: Path, name: str) -> None:
    try:
        refuse_name(tmp_path / name)
    except InputError as error:
        pytest.fail(str(error))
