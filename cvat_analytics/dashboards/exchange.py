"""Carry dashboards between the files in git and a running Grafana, and say how they differ.

What a site's Grafana has is what the deploy made of the file: in the site's language, with its links to CVAT. That is what is
compared and sent; what comes from Grafana is first brought back into the form of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.base.files import write_atomically
from cvat_analytics.config.settings import Settings
from cvat_analytics.dashboards import languages, site
from cvat_analytics.dashboards.difference import difference
from cvat_analytics.dashboards.grafana import Found, Grafana
from cvat_analytics.dashboards.lint import Finding, lint, lint_model
from cvat_analytics.dashboards.model import DASHBOARDS, read, tidy
from cvat_analytics.dashboards.places import Model, Refusal, nearest
from cvat_analytics.dashboards.tidying import tidied

_MESSAGE = "cvat-analytics dashboards push"


_JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


@dataclass(frozen=True)
class Site:
    """What the settings make of the dashboard files."""

    language: str
    table: languages.Table
    cvat_url: str
    time_zone: str

    def deployed(self, model: Model) -> dict[str, Any]:
        """Return a file's dashboard as this site has it."""
        return languages.translate(site.for_site(model, self.cvat_url, self.time_zone), self.table)

    def original(self, model: Model, reference: Model) -> dict[str, Any]:
        """Return what this site has as the file would have it; `reference` is the file so far."""
        # one translation may stand for two texts: what the file itself has is meant
        table = languages.inverted(self.table)
        table |= {self.table[text]: text for text in languages.texts(reference) if text in self.table}
        return site.from_site(languages.translate(model, table), reference)

    def foreign(self, file: Path, model: Model) -> list[Finding]:
        """Return what of a dashboard that came back is not English."""
        if self.language == "en":
            return []
        next_step = f"Undo it in Grafana; write the English text into the file, and the pair into grafana/languages/{self.language}.yaml"
        return [
            Finding(
                str(file), "", f"the text {text!r} was changed in Grafana, which is not in English", next_step
            )
            for text in languages.texts(model)
            if _JAPANESE.search(text)
        ]


def site_of(settings: Settings) -> Site:
    """Return the site that the settings describe. Raises InputError for a language's file that cannot be used."""
    table = languages.read(settings.grafana_language)
    return Site(settings.grafana_language, table, settings.cvat_url, settings.time_zone)


@dataclass(frozen=True)
class Outcome:
    """What was found of, or done with, one dashboard. `lines` say how it differed; none when it did not."""

    name: str
    file: Path
    lines: list[str]
    findings: tuple[Finding, ...] = ()
    """Why a dashboard was left alone."""


def diff(
    grafana: Grafana, here: Site, name: str | None = None, directory: Path = DASHBOARDS
) -> Iterator[Outcome]:
    """Yield for each dashboard (or the one called `name`) what Grafana has other than the file."""
    for file in chosen(directory, name):
        model = here.deployed(read(file))
        shown = grafana.read(_uid(file, model))
        if shown is None:
            yield Outcome(str(model.get("title")), file, ["Grafana does not have it"])
        else:
            yield Outcome(str(model.get("title")), file, difference(model, tidied(shown, model)))


def push(
    grafana: Grafana,
    here: Site,
    name: str | None = None,
    directory: Path = DASHBOARDS,
    refusal: Refusal | None = None,
) -> Iterator[Outcome]:
    """Save the files in Grafana where it has something else, and yield each with what changed there.

    All are checked first; a file that breaks a rule is not sent, and its outcome says why. Raises CvatAnalyticsError when
    Grafana has something else afterwards.
    """
    files = chosen(directory, name)
    findings = lint(files, refusal)
    for file in files:
        model = here.deployed(read(file))
        title = str(model.get("title"))
        bad = tuple(finding for finding in findings if finding.file == str(file))
        if bad:
            yield Outcome(title, file, [], bad)
            continue
        uid = _uid(file, model)
        shown = grafana.read(uid)
        lines = ["new in Grafana"] if shown is None else difference(tidied(shown, model), model)
        if lines:
            grafana.write(model, _MESSAGE)
            stored = grafana.read(uid)
            left = ["it is not there"] if stored is None else difference(model, tidied(stored, model))
            if left:
                raise CvatAnalyticsError(
                    Code.DASHBOARD_FORM,
                    f"Grafana accepted the dashboard {title!r} and has something else of it: {'; '.join(left)[:300]}",
                )
        yield Outcome(title, file, lines)


def pull(
    grafana: Grafana,
    here: Site,
    name: str | None = None,
    directory: Path = DASHBOARDS,
    refusal: Refusal | None = None,
) -> Iterator[Outcome]:
    """Bring what was edited in Grafana into the files, tidy, and yield each with what changed.

    `name` may also be the title or uid of a dashboard that only Grafana has; it becomes a file. A dashboard that breaks a
    rule leaves its file alone, and its outcome says why. Raises InputError for a name that nobody has.
    """
    known = {str(read(file).get("uid")): file for file in sorted(directory.glob("*.json"))}
    for uid, file in _wanted(grafana, name, directory, known):
        before = read(file) if file.exists() else {}
        shown = grafana.read(uid)
        if shown is None:
            raise InputError(
                Code.DASHBOARD_UNKNOWN,
                f"dashboard {uid} of {file}: Grafana does not have it. `cvat-analytics dashboards push {file.stem}` puts it there",
            )
        after = tidied(here.original(shown, before), before)
        lines = (difference(before, after) or _formatting(file, after)) if before else ["new file"]
        findings = here.foreign(file, after) + lint_model(str(file), after, refusal)
        findings += _taken(file, after, known)
        if lines and not findings:
            replace(file, tidy(after))
        yield Outcome(str(after.get("title")), file, lines, tuple(findings) if lines else ())


def chosen(directory: Path, name: str | None = None) -> list[Path]:
    """Return the dashboard files, or the one whose file name, title or uid is `name`. Raises InputError when there is none."""
    files = sorted(directory.glob("*.json"))
    if name is None:
        return files
    names = {file: _names(file) for file in files}
    matches = [file for file in files if name.removesuffix(".json").lower() in names[file]]
    if not matches:
        every = [each for several in names.values() for each in several]
        raise InputError(
            Code.DASHBOARD_UNKNOWN,
            f"dashboard {name!r}: there is none in {directory}. {nearest(name.lower(), every)}".rstrip(),
        )
    return matches


def replace(file: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    try:
        write_atomically(file, text, 0o644)
    except OSError as error:
        raise CvatAnalyticsError(
            Code.OUTPUT_UNWRITABLE, f"{file}: cannot be written ({error.strerror})"
        ) from None


def _names(file: Path) -> tuple[str, ...]:
    model = read(file)
    return file.stem.lower(), str(model.get("title", "")).lower(), str(model.get("uid", "")).lower()


def _uid(file: Path, model: dict[str, Any]) -> str:
    if not model.get("uid"):
        raise InputError(
            Code.DASHBOARD_FILE, f"dashboard {file}: it has no uid. Give it one; that is how Grafana knows it"
        )
    return str(model["uid"])


def _wanted(
    grafana: Grafana, name: str | None, directory: Path, known: dict[str, Path]
) -> list[tuple[str, Path]]:
    """Return uid and file of what `name` means: a file, or else a dashboard that only Grafana has."""
    try:
        files = chosen(directory, name)
    except InputError:
        files = []
    if files:
        return [(_uid(file, read(file)), file) for file in files]
    there = grafana.list()
    matches = [each for each in there if name and name.lower() in (each.uid.lower(), each.title.lower())]
    if len(matches) > 1:
        uids = ", ".join(each.uid for each in matches)
        raise InputError(
            Code.DASHBOARD_AMBIGUOUS,
            f"dashboard {name!r}: Grafana has {len(matches)} of that title; give the uid: {uids}",
        )
    if not matches:
        hint = nearest(str(name), [each.title for each in there])
        raise InputError(
            Code.DASHBOARD_UNKNOWN, f"dashboard {name!r}: neither a file nor Grafana has it. {hint}".rstrip()
        )
    return [(each.uid, known.get(each.uid) or _new_file(directory, each)) for each in matches]


def _new_file(directory: Path, dashboard: Found) -> Path:
    """Return a file for a dashboard that has none yet, never one of another dashboard."""
    file = directory / f"{slug(dashboard.title)}.json"
    return file if not file.exists() else directory / f"{slug(dashboard.title)}-{dashboard.uid}.json"


def slug(title: str) -> str:
    """Return a file's name, without its ending, for a dashboard of that title."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "dashboard"


def _formatting(file: Path, model: dict[str, Any]) -> list[str]:
    """Return whether only the form of the file is another."""
    return (
        [] if file.read_text() == tidy(model) else ["only the form of the file: order of keys, line breaks"]
    )


def _taken(file: Path, model: dict[str, Any], known: dict[str, Path]) -> list[Finding]:
    """Return whether another file has the title already."""
    others = [other for other in known.values() if other != file]
    return [
        Finding(
            str(file), "", f"its title {model['title']!r} is also that of {other}", "Rename it in Grafana"
        )
        for other in others
        if read(other).get("title") == model.get("title")
    ]
