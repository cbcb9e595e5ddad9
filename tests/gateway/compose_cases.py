"""Compose files, and what Docker Compose makes of them: services by name, each with its image and its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SHELL = {"no_proxy": "corp.example", "TAG": "v2", "EMPTY": ""}
"""The environment of the shell, in all cases."""
Project = Mapping[str, tuple[str, Mapping[str, str | None]]]


@dataclass(frozen=True)
class Case:
    """Files by name, of which those in `given` are for -f, and the project; or a part of the refusal."""

    id: str
    files: Mapping[str, str | bytes]
    project: Project = field(default_factory=dict)
    refusal: str = ""
    given: tuple[str, ...] = ("a.yml",)
    beyond: bool = False
    """Whether Docker Compose takes what is refused here: it is not on this machine."""


def one(environment: Mapping[str, str | None], image: str = "x") -> Project:
    """Return a project of the one service `s`."""
    return {"s": (image, environment)}


def of(environment: str) -> str:
    """Return a file with the one service `s`."""
    return f"services:\n  s:\n    image: x\n    environment: {environment}\n"


TWO = ("a.yml", "b.yml")
_PLAIN = of("{A: '1', B: ä}")

CASES = [
    Case("mapping", {"a.yml": of("{A: 1, B: true, C: , D: '', E: 0x10y}")}, one({"A": "1", "B": "true", "C": None, "D": "", "E": "0x10y"})),
    Case("list", {"a.yml": of("[A=1, B, no_proxy, 'C=', 'D=a=b']")}, one({"A": "1", "B": None, "no_proxy": "corp.example", "C": "", "D": "a=b"})),
    Case("what YAML 1.1 would take for a number", {"a.yml": of("[A=22:22, 'B=2001-12-14']")}, one({"A": "22:22", "B": "2001-12-14"})),
    Case("UTF-8 with BOM", {"a.yml": b"\xef\xbb\xbf" + _PLAIN.encode()}, one({"A": "1", "B": "ä"})),
    Case("UTF-16, little end first", {"a.yml": b"\xff\xfe" + _PLAIN.encode("utf-16-le")}, one({"A": "1", "B": "ä"})),
    Case("UTF-16, big end first", {"a.yml": b"\xfe\xff" + _PLAIN.encode("utf-16-be")}, one({"A": "1", "B": "ä"})),
    Case("UTF-16 without its mark", {"a.yml": _PLAIN.encode("utf-16-le")}, refusal="is not text"),
    Case("UTF-32", {"a.yml": b"\xff\xfe\x00\x00" + _PLAIN.encode("utf-32-le")}, refusal="line 1: is not text"),
    Case("CRLF", {"a.yml": _PLAIN.replace("\n", "\r\n")}, one({"A": "1", "B": "ä"})),
    Case("Latin-1", {"a.yml": _PLAIN.encode("latin-1")}, refusal="line 4: is not text"),
    Case("anchors and merge keys", {"a.yml": "x-e: &e {A: 1, B: 2}\nx-f: &f {B: 3, C: 4}\nservices:\n  s: {image: x, environment: {<<: [*e, *f], D: 5, A: 6}}\n"}, one({"A": "6", "B": "2", "C": "4", "D": "5"})),
    Case("a merge key of a whole service", {"a.yml": "x-s: &s\n  image: x\n  environment: {A: 1}\nservices:\n  s:\n    <<: *s\n  t:\n    <<: *s\n    image: y\n"}, {"s": ("x", {"A": "1"}), "t": ("y", {"A": "1"})}),
    Case("several documents in a file", {"a.yml": of("{A: 1}") + "---\n" + of("{B: 2}")}, one({"A": "1", "B": "2"})),
    Case("a later file over an earlier", {"a.yml": of("{A: 1, B: 2}"), "b.yml": "services:\n  s:\n    image: y\n    environment: [B=3, C=4]\n  t: {image: z}\n"}, {"s": ("y", {"A": "1", "B": "3", "C": "4"}), "t": ("z", {})}, given=TWO),
    Case("null over a value", {"a.yml": of("{A: 1}"), "b.yml": "services: {s: {image: , environment: }}"}, one({"A": "1"}), given=TWO),
    Case("!reset of an environment", {"a.yml": of("{A: 1}"), "b.yml": "services:\n  s:\n    environment: !reset null\n"}, one({}), given=TWO),
    Case("!override of an environment", {"a.yml": of("{A: 1}"), "b.yml": "services:\n  s:\n    environment: !override {B: 2}\n"}, one({"B": "2"}), given=TWO),
    Case("!reset of a variable", {"a.yml": of("{A: 1, B: 2}"), "b.yml": of("{A: !reset null, C: 3}")}, one({"B": "2", "C": "3"}), given=TWO),
    Case("!reset of a variable in a list", {"a.yml": of("[A=1, B=2]"), "b.yml": of("{A: !reset null, C: 3}")}, one({"A": "1", "B": "2", "C": "3"}), given=TWO),
    Case("!reset of a service", {"a.yml": of("{A: 1}") + "  t: {image: y}\n", "b.yml": "services: {t: !reset {}}"}, one({"A": "1"}), given=TWO),
    Case("!override of a service", {"a.yml": of("{A: 1}"), "b.yml": "services:\n  s: !override {image: y}\n"}, one({}, "y"), given=TWO),
    Case("tags within !override mean nothing", {"a.yml": of("{A: 1}"), "b.yml": of("!override {A: !reset x, B: 2}")}, one({"A": "x", "B": "2"}), given=TWO),
    Case("a tag on an anchor", {"a.yml": of("{A: 1}"), "b.yml": "x-e: &e !override {B: 2}\nservices:\n  s:\n    environment: *e\n"}, one({"B": "2"}), given=TWO),
    Case("another tag means nothing", {"a.yml": of("!mine {A: !!str 1}")}, one({"A": "1"})),
    Case("variables", {"a.yml": of('["A=${TAG}", "B=$TAG-x", "C=${NONE:-d}", "D=${EMPTY:-d}", "E=${EMPTY-d}", "F=${TAG:+set}", "G=$$TAG", "H=${NONE:-${TAG}}", "I=a$", "J=${TAG:?must}"]')}, one({"A": "v2", "B": "v2-x", "C": "d", "D": "d", "E": "", "F": "set", "G": "$TAG", "H": "v2", "I": "a$", "J": "v2"})),
    Case("a variable in an image", {"a.yml": "services: {s: {image: 'cvat/server:${TAG:-dev}'}}"}, one({}, "cvat/server:v2")),
    Case("a variable without a value that must have one", {"a.yml": "services:\n  s:\n    image: ${NONE:?must}\n"}, refusal="line 3: services.s.image cannot be read: the variable NONE has no value (must); set it"),
    Case("a variable that is none", {"a.yml": "services:\n  s:\n    image: ${TAG!}\n"}, refusal="line 3: services.s.image cannot be read"),
    Case(".env", {"a.yml": of("['A=$X', 'B=$Y', 'C=$TAG', 'D=$Z', 'E=$Q']"), ".env": "# of CVAT\nexport X='a b'\nY=\"c\\\"d\" \nTAG=old\nZ=e # note\n\nQ=${TAG}-q\n"}, one({"A": "a b", "B": 'c"d', "C": "v2", "D": "e", "E": "v2-q"})),
    Case("env_file", {"a.yml": "services:\n  s:\n    image: x\n    env_file: [one.env, {path: two.env, required: false}, {path: three.env, required: false}]\n    environment: {B: 3}\n", "one.env": "A=1\nB=1\nTAG\n", "two.env": "\ufeffA=2\r\nC=$TAG\r\n"}, one({"A": "2", "B": "3", "C": "v2", "TAG": "v2"})),
    Case("the same env_file again", {"a.yml": "services: {s: {image: x, env_file: [e, f]}}", "b.yml": "services: {s: {env_file: [{path: e}]}}", "e": "A=1\n", "f": "A=2\n"}, one({"A": "2"}), given=TWO),
    Case("env_file that is raw", {"a.yml": "services: {s: {image: x, env_file: [{path: e, format: raw}]}}", "e": "A=$TAG 'q' # n\n"}, one({"A": "$TAG 'q' # n"})),
    Case("env_file that is not there", {"a.yml": "services: {s: {image: x, env_file: e}}"}, refusal="e: cannot be read"),
    Case("env_file without sense", {"a.yml": "services: {s: {image: x, env_file: e}}", "e": "A=1\nB='x\n"}, refusal="e: line 2: has a quotation mark"),
    Case("extends in one file", {"a.yml": "services:\n  s: {extends: base, environment: {B: 3}}\n  base: {image: x, environment: [A=1, B=2]}\n"}, {"s": ("x", {"A": "1", "B": "3"}), "base": ("x", {"A": "1", "B": "2"})}),
    Case("extends of another file", {"a.yml": "services:\n  s: {extends: {file: sub/b.yml, service: base}, image: y}\n", "sub/b.yml": "services:\n  base: {extends: {file: c.yml, service: deep}, env_file: e}\n", "sub/c.yml": "services:\n  deep: {image: x, environment: {A: 1}}\n", "sub/e": "B=2\n"}, one({"A": "1", "B": "2"}, "y")),
    Case("extends and !override", {"a.yml": "services:\n  s:\n    extends: base\n    environment: !override {B: 3}\n  base: {image: x, environment: {A: 1}}\n"}, {"s": ("x", {"B": "3"}), "base": ("x", {"A": "1"})}),
    Case("extends and !reset", {"a.yml": "services:\n  s:\n    extends: base\n    environment: {A: !reset null, B: 3}\n  base: {image: x, environment: {A: 1}}\n"}, {"s": ("x", {"B": "3"}), "base": ("x", {"A": "1"})}),
    Case("extends and !override of the service itself", {"a.yml": "services:\n  s: !override {extends: base, environment: {B: 3}}\n  base: {image: x, environment: {A: 1}}\n"}, {"s": ("x", {"A": "1", "B": "3"}), "base": ("x", {"A": "1"})}),
    Case("extends of what is !reset", {"a.yml": "services:\n  s:\n    extends: base\n  base: !reset {image: x}\n"}, refusal="line 3: services.s.extends names the service 'base', which is not there"),
    Case("extends of nobody", {"a.yml": "services:\n  s:\n    image: x\n    extends: base\n"}, refusal="line 4: services.s.extends names the service 'base', which is not there"),
    Case("extends of itself", {"a.yml": "services:\n  s:\n    image: x\n    extends: t\n  t: {extends: s}\n"}, refusal="services.s.extends leads back to itself"),
    Case("extends of a file that is not there", {"a.yml": "services: {s: {image: x, extends: {file: b.yml, service: t}}}"}, refusal="b.yml: cannot be read"),
    Case("include", {"a.yml": "include: [sub/b.yml]\n" + of("{A: 1}"), "sub/b.yml": "services:\n  t: {image: y, env_file: e}\n  s: {environment: {A: 0, B: 2}}\n", "sub/e": "C=3\n"}, {"s": ("x", {"A": "1", "B": "2"}), "t": ("y", {"C": "3"})}),
    Case("include of several, with variables of its own", {"a.yml": "include:\n  - path: [sub/b.yml, sub/c.yml]\n    env_file: own.env\n" + of("{A: $OWN}"), "own.env": "OWN=o$$p\nTAG=none\n", "sub/b.yml": "services: {t: {image: 'y:$OWN', environment: ['A=$OWN-$TAG']}}", "sub/c.yml": "services: {t: {environment: {B: $OWN}}}"}, {"s": ("x", {"A": ""}), "t": ("y:o$p", {"A": "o$p-v2", "B": "o$p"})}),
    Case("include with a project directory", {"a.yml": "include: [{path: sub/b.yml, project_directory: .}]", "sub/b.yml": "services: {s: {image: 'x:$OWN', env_file: e}}", "e": "A=1\n", ".env": "OWN=o\n"}, one({"A": "1"}, "x:o")),
    Case("the .env of an included directory", {"a.yml": "include: [sub/b.yml]", "sub/b.yml": "services: {s: {image: 'x:$OWN', environment: ['A=$OWN']}}", "sub/.env": "OWN=o\n"}, one({"A": "o"}, "x:o")),
    Case("a later file over an included one", {"a.yml": "include: [c.yml]", "b.yml": "services: {s: {environment: {B: 2}}}", "c.yml": of("{A: 1}")}, one({"A": "1", "B": "2"}), given=TWO),
    Case("extends of an included service", {"a.yml": "include: [b.yml]\nservices: {t: {extends: s, image: y}}", "b.yml": of("{A: 1}")}, {"s": ("x", {"A": "1"}), "t": ("y", {"A": "1"})}),
    Case("!reset of an included service", {"a.yml": "include: [c.yml]\nservices: {s: !reset {}}", "c.yml": of("{A: 1}")}, one({"A": "1"})),
    Case("!override of an included service", {"a.yml": "include: [c.yml]\nservices: {s: !override {image: y}}", "c.yml": of("{A: 1}")}, one({"A": "1"}, "y")),
    Case("a name alone in an included file", {"a.yml": "include: [sub/b.yml]", "sub/b.yml": of("[OWN]"), "sub/.env": "OWN=o$$p\n"}, one({"OWN": "o$p"})),
    Case("include of itself", {"a.yml": "include: [b.yml]\n" + of("{A: 1}"), "b.yml": "include: [a.yml]\nservices: {t: {image: y}}"}, refusal="b.yml: line 1: include leads back to"),
    Case("include of nothing", {"a.yml": "include: [b.yml]\n" + of("{A: 1}")}, refusal="b.yml: cannot be read"),
    Case("include from elsewhere", {"a.yml": "include: ['https://github.com/cvat-ai/cvat.git']\n" + of("{A: 1}")}, refusal="line 1: include is not on this machine", beyond=True),
    Case("a profile", {"a.yml": "services: {s: {image: x, profiles: [serverless]}}"}, one({})),
    Case("a key twice", {"a.yml": "services:\n  s:\n    image: x\n    image: y\n"}, refusal="line 4: has the key 'image' a second time, after line 3"),
    Case("an alias of nothing", {"a.yml": "services:\n  s: *x\n"}, refusal="line 2, column 6: is no docker-compose.yml"),
    Case("a value that contains itself", {"a.yml": "x-a: &a\n  b: *a\n" + of("{A: 1}")}, refusal="line 1: is a part of itself"),
    Case("a service that is a list", {"a.yml": "services:\n  s: [image]\n"}, refusal="line 2: services.s is not a mapping"),
    Case("a service that is nothing", {"a.yml": "services:\n  s:\n"}, refusal="line 2: services.s is not a mapping"),
    Case("an environment that is text", {"a.yml": of("A=1")}, refusal="line 4: environment is neither a list nor a mapping"),
    Case("a variable that is a list", {"a.yml": of("{A: [1]}")}, refusal="line 4: environment.A is not a text"),
    Case("no YAML", {"a.yml": "services: ["}, refusal="line 1, column 12: is no docker-compose.yml"),
    Case("a file that is no mapping", {"a.yml": "text"}, refusal="line 1: the file is no docker-compose.yml"),
]  # fmt: skip
