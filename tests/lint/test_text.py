"""The formatter of SQL, VRL and templates: what it writes, that it writes the same again, and that nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cvat_analytics.base.project import ROOT
from lint import text

CODE = [path for path in text.files() if text.language_of(path.name)]
NAMES = {"sql": "query.sql", "vrl": "program.vrl"}


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("a.sql", "select  a ,b\tfrom t  where x in(1,2)  \n\n\n\nand y\n\n", "SELECT a, b FROM t WHERE x in(1, 2)\n\nAND y\n"),
        ("a.sql", "SELECT ( a, [ 1,2 ] ) ;\r\n\tFROM t", "SELECT (a, [1, 2]);\n    FROM t\n"),
        ("a.sql", "SELECT 'from  a ,b', `in`, \"or\"  -- from  here ,on\n", "SELECT 'from  a ,b', `in`, \"or\" -- from  here ,on\n"),
        # names of somebody's columns, and a query's parameter
        ("a.sql", "SELECT table, engine, t.group, {from:String} FROM t\n", "SELECT table, engine, t.group, {from:String} FROM t\n"),
        ("a.sql.j2", "SELECT {{x}}\n{%if a%}\n  and {{ 'a,b' ~c }}\n{%-endif -%}\n", "SELECT {{ x }}\n{% if a %}\n  AND {{ 'a,b' ~c }}\n{%- endif -%}\n"),
        ("a.sql", "{%set x%}[a,b]  (  from{%endset%}\n", "{% set x %}[a,b]  (  from{% endset %}\n"),
        (
            "a.vrl",
            "if  a {\n b = f( c,r'\\d{2},  ' )\n# why\n  if d {\n e\n}  else  {\n f\n }\n}\n",
            "if a {\n    b = f(c, r'\\d{2},  ')\n    # why\n    if d {\n        e\n    } else {\n        f\n    }\n}\n",
        ),
        ("a.vrl", "  {% if large %}\nx = {{limits.A}}\n", "  {% if large %}\nx = {{ limits.A }}\n"),
        ("a.sql", "{{%if c%}\n", "{{% if c %}\n"),
        ("a.ini.j2", "\n\n[a]  \nb = {{c|d}} , e\n\n\nf", "[a]\nb = {{ c|d }} , e\n\nf\n"),
    ],
    ids=["blanks and keywords", "brackets", "quotes and comments", "names", "tags", "a text that is set", "indentation", "a tag's own", "a bracket before a tag", "a template"],
)  # fmt: skip
def test_what_is_written(name: str, before: str, after: str) -> None:
    assert text.formatted(before, name) == after
    assert text.formatted(after, name) == after


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.vrl", "if a {\n", "not closed"),
        ("a.vrl", "}\n{\n", "closed that was not opened"),
        ("a.sql", "SELECT 'a  \n\n\nb'\n", "write them as escapes"),
    ],
    ids=["open", "closed", "a text of several lines"],
)
def test_what_cannot_be_formatted_is_said_and_left(name: str, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        text.formatted(content, name)


def spoilt(content: str, language: str, draw: st.DataObject) -> str:
    """Return a program with other white space between its tokens, and SQL's keywords in another case."""
    blanks = st.sampled_from([" ", "  ", "\t"])
    pieces, result = list(text.tokens(content, language)), ""
    for i, (kind, token) in enumerate(pieces):
        before = pieces[i - 1] if i else ("newline", "\n")
        after = pieces[i + 1] if i + 1 < len(pieces) else ("newline", "\n")
        if kind == "newline":
            token = draw.draw(st.sampled_from(["\n", " \n", "\t \n"]))
        elif kind == "blank" and before[0] != "newline":
            # what stands behind a comma may have no blank at all
            token = draw.draw(blanks | st.just("") if before[1] == "," else blanks)
        elif kind == "blank" and language == "vrl" and after[0] != "jinja":
            token = draw.draw(st.just("") | blanks)
        elif kind == "word" and language == "sql" and token in text.KEYWORDS:
            token = draw.draw(st.sampled_from([token, token.lower(), token.capitalize()]))
        elif kind == "sign" and token in ")];," and before[0] not in ("comment", "newline", "blank"):
            token = draw.draw(st.sampled_from(["", " ", "  "])) + token
        result += token
    return result


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_file_comes_back_whatever_became_of_its_white_space(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(CODE))
    language = text.language_of(path.name)
    assert language
    content = path.read_text()
    assert text.formatted(spoilt(content, language, data), path.name) == content


PIECES = st.sampled_from([
    "a", "select", "from ", "'x  ,'", '"y"', "r'z'", "12", ",", ";", "(", ")", "[", "]", "{", "}", "{{ b }}", "{% if c %}", "{#  d #}",
    " ", "  ", "\t", "\n", "\n\n\n", "# e ,f\n", "-- g ,h\n", "/* i\n j */", "=", "->", "|", ".", "::", "'", '"', "`", "\\",
])  # fmt: skip


@given(st.sampled_from(sorted(NAMES)), st.lists(PIECES, max_size=30).map("".join))
def test_twice_is_as_once_and_nothing_but_white_space_and_case_changes(language: str, content: str) -> None:
    try:
        once = text.formatted(content, NAMES[language])
    except ValueError:
        assume(False)
    assert text.formatted(once, NAMES[language]) == once
    assert text.meaning(once, language) == text.meaning(content, language)


def test_a_check_shows_the_difference_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(text, "ROOT", tmp_path)
    file = tmp_path / "a.sql"
    file.write_text("select 1 \n")
    monkeypatch.setattr(text, "files", lambda: [file])
    assert text.main(check=True) == 1
    assert "-select 1 \n+SELECT 1\n" in capsys.readouterr().out
    assert file.read_text() == "select 1 \n"
    assert text.main(check=False) == 0
    assert file.read_text() == "SELECT 1\n"
    assert (text.main(check=True), capsys.readouterr().out) == (0, "formatted a.sql\n")


def test_all_kinds_of_files_are_formatted() -> None:
    names = {str(path.relative_to(ROOT)) for path in text.files()}
    assert names >= {
        "clickhouse/init.sql",
        "templates/vector/normalise.vrl",
        "templates/grafana/alerts/disk.sql.j2",
        "templates/gateway/nginx.conf.j2",
        "cvat_analytics/embedded/viewer/templates/base.html",
    }
