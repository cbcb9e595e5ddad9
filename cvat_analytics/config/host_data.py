"""What of a host's data is pyinfra's: how it is reached, and how commands run there. pyinfra itself passes over a misspelt name in silence.

The names are pyinfra's own, of the version that is installed. Its libraries take half a second, so they are asked only about a
name that is not an everyday one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

_PREFIXES = ("ssh_", "docker_", "podman_", "chroot_", "local_", "fake_")
"""Of its connectors' names; what begins with `_` is an argument of every operation."""
EVERYDAY: Mapping[str, type] = {
    "_sudo": bool,
    "_sudo_user": str,
    "_sudo_password": str,
    "ssh_hostname": str,
    "ssh_port": int,
    "ssh_user": str,
    "ssh_password": str,
    "ssh_key": str,
    "ssh_key_password": str,
    "ssh_config_file": str,
    "ssh_known_hosts_file": str,
    "ssh_strict_host_key_checking": str,
}
_OF_NAMES = {"docker_image": str, "chroot_directory": str}
"""What connectors make of a host's name, such as `@docker/IMAGE`, and do not list."""
_NEAR = 0.8


def is_pyinfras(name: str) -> bool:
    """Return whether pyinfra is the one who reads data of this name, known to it or not."""
    return name.startswith(("_", *_PREFIXES))


def known() -> dict[str, Any]:
    """Return the names that pyinfra knows, and of connectors' names the types of their values."""
    from pyinfra.api.arguments import all_argument_meta
    from pyinfra.api.connectors import get_all_connectors

    names: dict[str, Any] = {name: object for name in all_argument_meta if name.startswith("_")} | _OF_NAMES
    for connector in get_all_connectors().values():
        names |= dict.fromkeys(connector.data_meta, object) | get_type_hints(connector.data_cls)
    return names


def mistakes(data: Mapping[str, Any], settings: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield each name in a host's data that is misspelt, or has a value of a wrong type, and what is wrong with it.

    `settings` are this project's: a name that is neither may be one of pyinfra's, as `sudo` is.
    """
    for name, value in data.items():
        if name in settings or isinstance(value, EVERYDAY.get(name, ())):
            continue
        names = known()
        if name in names:
            wanted = names[name]
            # what is no plain type is left to pyinfra
            whole = wanted is float and isinstance(value, int)
            if (
                not (name.startswith("_") or whole)
                and isinstance(wanted, type)
                and not isinstance(value, wanted)
            ):
                yield name, f"{name!r}: is of type {wanted.__name__} (got {value!r})"
            continue
        ours = is_pyinfras(name)
        # a variable of the inventory's own may begin with _ as well
        cutoff = 0.6 if ours and not name.startswith("_") else _NEAR
        if near := difflib.get_close_matches(name, names, n=1, cutoff=cutoff):
            yield name, f"unknown {'name' if ours else 'setting'} {name!r}: did you mean {near[0]!r}?"
        elif ours and not name.startswith("_"):
            prefix = f"{name.partition('_')[0]}_"
            these = (
                ", ".join(sorted(each for each in names if each.startswith(prefix))) or f"none with {prefix}"
            )
            yield name, f"unknown name {name!r}: pyinfra has {these}"
