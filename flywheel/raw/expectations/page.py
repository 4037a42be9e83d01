"""Keeps what was judged among the wheel's files: `validation/<arrival>/index.html` for people, `result.json` beside it.

Great Expectations' own pages are not used: they load scripts from a dozen other hosts, and values that do not fit stand
in them unescaped. The words of each statement are from its renderers; the page around them is ours, loads nothing and
runs nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict

from jinja2 import Environment, PackageLoader, StrictUndefined

from flywheel.objects import ObjectStore
from flywheel.raw.expectations.arrival import Validation
from flywheel.raw.expectations.judge import Verdict

FOLDER = "validation"


def write_data_docs(files: ObjectStore, validation: Validation) -> str:
    """Write the page and the result of one arrival, and return where a person finds the page.

    What would not change is not written again.
    """
    result = {"arrival": validation.arrival, "verdicts": [asdict(verdict) for verdict in validation.verdicts]}
    _write(files, f"{FOLDER}/{validation.arrival}/result.json", json.dumps(result, indent=1, ensure_ascii=False))
    page = f"{FOLDER}/{validation.arrival}/index.html"
    _write(files, page, render_page(validation))
    return files.address(page)


def read_validations(files: ObjectStore, arrivals: Sequence[str]) -> list[Validation]:
    """Return what was judged of these arrivals, in their order; one that was not judged is left out."""
    found: list[Validation] = []
    for arrival in arrivals:
        key = f"{FOLDER}/{arrival}/result.json"
        if files.exists(key):
            verdicts = json.loads(files.read(key))["verdicts"]
            found.append(Validation(arrival, tuple(_verdict(one) for one in verdicts)))
    return found


def render_page(validation: Validation) -> str:
    """Return the page as HTML; everything from data is escaped."""
    loader = PackageLoader("flywheel.raw.expectations", ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    suites = {(one.suite, one.scope): None for one in validation.verdicts}
    by_suite = {key: [one for one in validation.verdicts if (one.suite, one.scope) == key] for key in suites}
    return environment.get_template("page.html").render(
        arrival=validation.arrival,
        suites=by_suite,
        stopped=len(validation.failed(blocking=True)),
        warned=len(validation.failed(blocking=False)),
        total=len(validation.verdicts),
    )


def _verdict(stored: dict[str, object]) -> Verdict:
    examples = stored["examples"]
    assert isinstance(examples, list)
    return Verdict(**{**stored, "examples": tuple(map(str, examples))})  # type: ignore[arg-type]


def _write(files: ObjectStore, key: str, text: str) -> None:
    content = text.encode("utf-8", "replace")
    if not files.exists(key) or files.read(key) != content:
        files.write(key, content)
