"""Where packages come from, and that nothing else can slip in.

One setting chooses: the vendors' repositories, a mirror, or a bundle of files that needs no network. In each case
exact versions are asked for, and apt is told never to take these packages from anywhere else: Debian's own archive
has a clickhouse-server that is eight years old.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pyinfra.api.operation import OperationMeta

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.config.package_source import kind
from cvat_analytics.config.settings import Settings
from cvat_analytics.rendering.files import RenderedFile
from deploys import package_operations
from deploys.operations import managed_files

BUNDLE = "/var/cache/cvat-analytics/bundle"
SOURCES = "/etc/apt/sources.list.d"
KEYRINGS = "/etc/apt/keyrings"


@dataclass(frozen=True)
class Repository:
    """A vendor's apt repository and the key that must sign it."""

    url: str
    suite: str
    component: str
    key_url: str
    fingerprints: tuple[str, ...]


VENDORS = {
    "clickhouse": Repository(
        "https://packages.clickhouse.com/deb", "lts", "main",
        "https://packages.clickhouse.com/rpm/lts/repodata/repomd.xml.key",
        ("3A9EA1193A97B548BE1457D48919F6BD2B48D754",),
    ),
    # Vector is Datadog's; the second key is the one they move to next
    "vector": Repository(
        "https://apt.vector.dev/", "stable", "vector-0",
        "https://keys.datadoghq.com/DATADOG_APT_KEY_CURRENT.public",
        ("5F1E256061D813B125E156E8E6266D4AC0962C7D", "D18886567EABAD8B2D2526900D826EB906462314"),
    ),
    "grafana": Repository(
        "https://apt.grafana.com", "stable", "main",
        "https://apt.grafana.com/gpg.key",
        ("B53AE77BADB630A683046005963FA27710458545",),
    ),
}  # fmt: skip


def versions(component: str, settings: Settings) -> dict[str, str]:
    """Return the vendor's packages of `component` and the exact version of each; none where there is no vendor."""
    if component == "clickhouse":
        # The three depend on each other in exactly the same version
        names = ("clickhouse-common-static", "clickhouse-server", "clickhouse-client")
        return dict.fromkeys(names, settings.clickhouse_version)
    if component not in VENDORS:
        # the events API is this project's own, and the gateway's nginx is the distribution's in whatever version it has
        return {}
    return {component: settings.vector_version if component == "vector" else settings.grafana_version}


def source(component: str, settings: Settings) -> str:
    """Return the deb822 text of the apt source for `component`, without its signature."""
    if kind(settings) == "mirror":
        return f"Types: deb\nURIs: {settings.package_source}\nSuites: ./\n"
    vendor = VENDORS[component]
    return f"Types: deb\nURIs: {vendor.url}\nSuites: {vendor.suite}\nComponents: {vendor.component}\n"


def bundle_files(component: str, settings: Settings, architecture: str) -> dict[str, Path]:
    """Return the bundle's file for each package of `component`. Raises InputError naming what is missing."""
    directory = Path(settings.package_source)
    contents = {}
    for name, version in versions(component, settings).items():
        matches = [
            file
            for suffix in (architecture, "all")
            for file in directory.glob(f"{name}_{version}*_{suffix}.deb")
        ]
        if not matches:
            raise InputError(
                Code.PACKAGE_MISSING,
                f"package_source {directory}: has no {name} {version} for {architecture} ({name}_{version}_{architecture}.deb). Put it there",
            )
        contents[name] = matches[0]
    return contents


def dependencies(settings: Settings) -> list[Path]:
    """Return the bundle's other packages: what the stack's own need and the host may lack."""
    own = [name for component in VENDORS for name in versions(component, settings)]
    return sorted(
        file for file in Path(settings.package_source).glob("*.deb") if file.name.partition("_")[0] not in own
    )


def distribution_s(name: str, packages: Sequence[str], settings: Settings) -> OperationMeta:
    """Make the distribution's own `packages` be installed: from its archive, with an offline bundle from what that has of them.

    A bundle that lacks them is no reason to fail: a host may reach an archive of its own.
    """
    bundle = dependencies(settings) if kind(settings) == "bundle" else []
    return package_operations.prerequisites(name=name, packages=packages, bundle=bundle, directory=BUNDLE)


def signing_key(settings: Settings) -> str:
    """Return the mirror's public key as text. Raises InputError when it is not ASCII-armoured."""
    path = settings.package_signing_key
    try:
        text = path.read_text(errors="replace") if path else ""
    except OSError as error:
        raise InputError(
            Code.SIGNING_KEY, f"setting 'package_signing_key': {path} cannot be read: {error.strerror}"
        ) from None
    if "BEGIN PGP PUBLIC KEY BLOCK" not in text:
        raise InputError(
            Code.SIGNING_KEY,
            f"setting 'package_signing_key': {path} is not an ASCII-armoured public key; export it with `gpg --armor --export`",
        )
    return text


def apt_files(component: str, settings: Settings) -> list[RenderedFile]:
    """Return apt's source of `component`, its key where we have it, and the pins."""
    pins = f"cvat-analytics-{component}"
    rendered = [RenderedFile(f"/etc/apt/preferences.d/{pins}", _pins(component, settings), effect="none")]
    if kind(settings) == "bundle":
        return rendered
    keyring = _keyring(component, settings)
    if kind(settings) == "mirror":
        rendered.append(RenderedFile(keyring, signing_key(settings), effect="none"))
    text = f"# Written by cvat-analytics\n{source(component, settings)}Signed-By: {keyring}\n"
    return [*rendered, RenderedFile(f"{SOURCES}/{pins}.sources", text, effect="none")]


def _keyring(component: str, settings: Settings) -> str:
    return f"{KEYRINGS}/cvat-analytics-{'mirror' if kind(settings) == 'mirror' else component}.asc"


def _pins(component: str, settings: Settings) -> str:
    """Return apt preferences that allow the pinned versions from the chosen place, and nothing from elsewhere."""
    host = {
        "vendor": urlsplit(VENDORS[component].url).hostname,
        "mirror": urlsplit(settings.package_source).hostname,
    }.get(kind(settings))
    names = " ".join(versions(component, settings))
    text = "# Written by cvat-analytics: these packages come from one place only, in one version (apt_preferences(5)).\n"
    if host:
        for name, version in versions(component, settings).items():
            text += f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n\n"
        text += f"Package: {names}\nPin: origin {host}\nPin-Priority: 500\n\n"
    return text + f"Package: {names}\nPin: release *\nPin-Priority: -1\n"


def install(component: str, settings: Settings, architecture: str) -> OperationMeta:
    """Make the packages of `component` be installed in their pinned versions, from the chosen source."""
    pinned = versions(component, settings)
    if kind(settings) == "vendor":
        package_operations.prerequisites(
            name=f"{component}: what apt needs to read the vendor's repository",
            packages=["ca-certificates", "gpg"],
        )
        package_operations.trusted_key(
            name=f"{component}: the vendor's signing key",
            url=VENDORS[component].key_url, fingerprints=VENDORS[component].fingerprints, path=_keyring(component, settings),
        )  # fmt: skip
    other = f"{SOURCES}/cvat-analytics-{component}.sources"
    managed_files(
        name=f"{component}: apt source and pins",
        files=apt_files(component, settings),
        absent=[other] if kind(settings) == "bundle" else [],
    )
    if kind(settings) == "bundle":
        return _install_bundle(component, settings, architecture)
    return package_operations.packages(
        name=f"{component}: packages",
        versions=pinned,
        targets=[f"{name}={version}" for name, version in pinned.items()],
        refresh=f"apt-get -q -o Dir::Etc::SourceList={other} -o Dir::Etc::SourceParts=- -o APT::Get::List-Cleanup=0 --error-on=any update",
    )


def _install_bundle(component: str, settings: Settings, architecture: str) -> OperationMeta:
    chosen = [*bundle_files(component, settings, architecture).values(), *dependencies(settings)]
    package_operations.packages_upload(
        name=f"{component}: packages of the bundle",
        versions=versions(component, settings),
        files=chosen,
        directory=BUNDLE,
    )
    return package_operations.packages(
        name=f"{component}: packages",
        versions=versions(component, settings),
        targets=[f"{BUNDLE}/{file.name}" for file in chosen],
        options="-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null",
    )
