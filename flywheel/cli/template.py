"""The `flywheel.yaml` that `flywheel init` writes: generated from the configuration's own classes.

So it names every key with its default, and cannot fall behind what `load_config` accepts.
"""

import inspect
import json
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, cast, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from flywheel.config import LabelStudioVendorConfig, Section, SimulatedVendorConfig, WheelConfig

HEAD = """\
# Everything one wheel needs to know. Lines that begin with `#` and a key show what may be added.
# Change what is marked with <-, leave the rest until you need it. Relative paths start at this file's folder.
# Secrets never stand here: they come from the environment (see .env.example).
"""

# What has no default, filled so that the file loads as it is.
EXAMPLE: dict[str, Any] = {
    "name": "flywheel",
    "sources": [{"id": "main", "root": "./data", "manifest": None}],
    "label_spec": {"classes": ["yes", "no"]},
    "vendor": {"kind": "file", "folder": "./vendor"},
}
CHANGE = frozenset({"sources.root", "label_spec.modality", "label_spec.classes", "label_spec.instructions"})
# What a key without a value could hold; shown behind a `#`.
OPTIONAL = {
    "store.cache": "./cache",
    "endpoint": "http://127.0.0.1:8333",
    "profile": "default",
    "manifest": "manifest*.csv",
    "queue": "photos-events",
    "region": "us-east-1",
    "attributes": "site={site}/**",
    "sources.records.subjects": "people.csv",
    "as_of": "2026-01-01",
    "match": "events*.csv",
    "time": "date",
    "sources.records.tables.name": "event",
    "value": "value",
    "model": "./models/encoder",
    "revision": "main",
    "target.attribute": "country",
    "target.shares": {"de": 0.5, "fr": 0.5},
    "inbox": "./metrics",
    "alerts": "./alerts.jsonl",
    "sources.records.tables.subject": "person",
}
OTHER_VENDORS = (SimulatedVendorConfig, LabelStudioVendorConfig)


def render_config() -> str:
    """Return a commented configuration that loads as it stands."""
    lines = [HEAD, *_section(WheelConfig, EXAMPLE, indent=0, place="")]
    return "\n".join(lines).rstrip() + "\n"


def _section(kind: type[Section], values: Mapping[str, Any], indent: int, place: str) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield from _entry(name, field, values, indent, f"{place}.{name}".strip("."))
        if not place:
            yield ""


def _entry(name: str, field: FieldInfo, values: Mapping[str, Any], indent: int, place: str) -> Iterator[str]:
    pad = "  " * indent
    value = values.get(name, None if field.is_required() else field.default)
    section = _section_of(field, value)
    if section is None:
        optional, shown = ("# ", OPTIONAL.get(place, OPTIONAL.get(name))) if value is None else ("", value)
        yield f"{pad}{optional}{name}: {_plain(shown)}{_comment(field, place)}"
        return
    yield from _paragraph(section, pad)
    if value is None or value == ():
        yield f"{pad}# {name}:"
        lines = [line.removeprefix("# ") for line in _section(section, {}, 0, place)]
        if value == ():  # of a list
            lines = [f"{'  ' if place else '- '}{line}" for place, line in enumerate(lines)]
        yield from (f"{pad}#   {line}" for line in lines)
        return
    yield f"{pad}{name}:"
    if isinstance(value, list):
        [first] = cast(list[dict[str, Any]], value)
        inner = list(_section(section, first, indent + 2, place))
        yield f"{pad}  - {inner[0].lstrip()}"
        yield from inner[1:]
        return
    yield from _section(section, _explicit(value), indent + 1, place)
    if name == "vendor":
        yield from _other_vendors(pad)


def _other_vendors(pad: str) -> Iterator[str]:
    for kind in OTHER_VENDORS:
        yield f"{pad}# or, instead: {_doc(kind)}"
        yield f"{pad}# vendor:"
        yield from (f"{pad}#   {line}" for line in _section(kind, _needed(kind), 0, "vendor"))


def _needed(kind: type[Section]) -> dict[str, Any]:
    """Values for what a vendor requires."""
    literal = get_args(kind.model_fields["kind"].annotation)[0]
    return {"kind": literal} | ({"truth": "./truth.csv"} if "truth" in kind.model_fields else {})


def _section_of(field: FieldInfo, value: object) -> type[Section] | None:
    """The section class a field holds, for the value that is shown; None for a plain value."""
    if isinstance(value, Section):
        return type(value)
    options = list(_flatten(field.annotation))
    wanted = cast(dict[str, Any], value).get("kind") if isinstance(value, dict) else None
    if wanted is not None:
        return next(option for option in options if wanted in get_args(option.model_fields["kind"].annotation))
    return options[0] if options else None


def _flatten(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, tuple):
        for option in get_args(annotation):
            yield from _flatten(option)


def _explicit(value: Any) -> dict[str, Any]:
    """A section's values by key, given as a section or as plain values."""
    if isinstance(value, Section):
        return {name: getattr(value, name) for name in type(value).model_fields}
    return dict(value)


def _comment(field: FieldInfo, place: str) -> str:
    text = "; ".join(note for note in (field.description, _choices(field)) if note)
    mark = "<- " if place in CHANGE else ""
    return f"  # {mark}{text}" if mark or text else ""


def _choices(field: FieldInfo) -> str:
    """The values a field may have, where they are a list of more than one."""
    options = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return f"one of: {', '.join(options)}" if len(options) > 1 else ""


def _paragraph(section: type[Section], pad: str) -> Iterator[str]:
    if doc := _doc(section):
        yield f"{pad}# {doc}"


def _doc(section: type[Section]) -> str:
    own = section.__dict__.get("__doc__")
    return inspect.cleandoc(own).splitlines()[0] if own else ""


def _plain(value: object) -> str:
    """One line of YAML."""
    if isinstance(value, tuple | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return yaml.safe_dump(value, allow_unicode=True, width=1000).removesuffix("...\n").strip()


def known_places() -> frozenset[str]:
    """Every key of the configuration, dotted; for the test that the template names them all."""
    return frozenset(_places(WheelConfig, ""))


def _places(kind: type[Section], place: str) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        here = f"{place}.{name}".strip(".")
        yield here
        for section in _flatten(field.annotation):
            yield from _places(section, here)
