"""The configuration: what loads, and what a mistake is told."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flywheel.cli.template import known_places, render_config
from flywheel.config import FileVendorConfig, SimulatedVendorConfig, WheelConfig, load_config, parse_config, secret
from flywheel.errors import ConfigError

SMALL: dict[str, Any] = {
    "sources": [{"id": "main", "root": "data"}],
    "label_spec": {"classes": ["cat", "dog"]},
    "vendor": {"kind": "file", "folder": "vendor"},
}


def changed(place: str, value: object) -> dict[str, Any]:
    """`SMALL` with one value set, at a dotted place; numbers are positions in lists."""
    raw: Any = yaml.safe_load(yaml.safe_dump(SMALL))
    here = raw
    *path, last = [int(step) if step.isdigit() else step for step in place.split(".")]
    for step in path:
        here = here[step] if isinstance(step, int) else here.setdefault(step, {})
    here[last] = value
    return raw


def test_three_sections_are_enough(tmp_path: Path) -> None:
    config = parse_config(SMALL, tmp_path)
    assert (config.index.kind, config.budget.auto_approve, config.target) == ("edge", False, None)


def test_relative_folders_start_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "wheel").mkdir()
    path = tmp_path / "wheel" / "flywheel.yaml"
    raw = changed("triggers.inbox", "../metrics") | {"store": {"root": "tables", "cache": "cache"}}
    path.write_text(yaml.safe_dump(raw))
    config = load_config(path)
    assert config.sources[0].root == str(tmp_path / "wheel" / "data")
    assert config.store.root == str(tmp_path / "wheel" / "tables")
    assert config.cache == tmp_path / "wheel" / "cache"
    assert config.triggers.inbox == str(tmp_path / "metrics")
    assert isinstance(config.vendor, FileVendorConfig)
    assert config.vendor.folder == str(tmp_path / "wheel" / "vendor")


def test_addresses_on_s3_stay_as_they_are(tmp_path: Path) -> None:
    config = parse_config(
        changed("sources.0.root", "s3://bucket/prefix") | {"store": {"root": "s3://b/wheel"}}, tmp_path
    )
    assert (config.sources[0].root, config.store.root) == ("s3://bucket/prefix", "s3://b/wheel")
    assert config.cache.is_absolute()


def test_the_vendor_kind_decides_which_keys_it_has(tmp_path: Path) -> None:
    config = parse_config(changed("vendor", {"kind": "simulated", "truth": "truth.csv"}), tmp_path)
    assert isinstance(config.vendor, SimulatedVendorConfig)
    assert config.vendor.truth == str(tmp_path / "truth.csv")


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("budgte", {}, ["budgte", "unknown key", "did you mean 'budget'"]),
        ("budget.vots", 3, ["budget.vots", "unknown key", "did you mean 'votes'"]),
        ("sources.0.rot", "x", ["sources.0.rot", "unknown key", "did you mean 'root'"]),
        ("sources.0.s3.endpont", "x", ["sources.0.s3.endpont", "did you mean 'endpoint'"]),
        ("encoders.image.zzz", 1, ["encoders.image.zzz", "unknown key", "expected one of", "kind"]),
        ("vendor.foldr", "x", ["vendor.file.foldr", "did you mean 'folder'"]),
        ("vendor.kind", "scale", ["vendor", "'simulated', 'file', 'label-studio'", "scale"]),
        ("budget.votes", 0, ["budget.votes", "greater than or equal to 1", "found 0"]),
        ("budget.gap_share", 1.5, ["budget.gap_share", "less than or equal to 1", "found 1.5"]),
        ("budget.auto_approve", "perhaps", ["budget.auto_approve", "boolean", "perhaps"]),
        ("label_spec.classes", ["one"], ["label_spec.classes", "at least 2"]),
        ("label_spec.classes", ["one", "one"], ["label_spec", "names a class twice"]),
        ("label_spec.modality", "smell", ["label_spec.modality", "'image'", "smell"]),
        ("sources", [], ["sources", "at least 1"]),
        ("sources", [{"id": "a", "root": "x"}, {"id": "a", "root": "y"}], ["'sources' uses an id twice"]),
        ("sources.0.id", "../x", ["sources.0.id", "pattern", "../x"]),
        ("encoders.text", {"kind": "transformers-text"}, ["encoders.text", "'model'", "transformers-text"]),
        ("target", {"attribute": "age", "shares": {"old": 0.2}}, ["target", "sum to 1", "0.200"]),
        ("name", "no spaces please", ["name", "pattern"]),
    ],
)
def test_a_mistake_names_key_place_and_what_was_expected(
    place: str, value: object, words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(changed(place, value), tmp_path, where="flywheel.yaml")
    message = str(caught.value)
    assert message.startswith("flywheel.yaml has mistakes:\n")
    assert not [word for word in words if word not in message], message


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    raw = changed("budget.votes", 0) | {"nmae": "x"}
    with pytest.raises(ConfigError) as caught:
        parse_config(raw, tmp_path)
    assert len(str(caught.value).splitlines()) == 3


def test_missing_section_is_named(tmp_path: Path) -> None:
    raw = {name: value for name, value in SMALL.items() if name != "label_spec"}
    with pytest.raises(ConfigError, match=r"label_spec: Field required"):
        parse_config(raw, tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [("[1, 2]", "must hold keys and values, found list"), ("a: [", "is not valid YAML"), ("", "found NoneType")],
)
def test_a_file_that_is_no_mapping_is_refused(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "flywheel.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=words):
        load_config(path)


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="flywheel init"):
        load_config(tmp_path / "flywheel.yaml")


def test_a_missing_secret_is_named_without_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="LABEL_STUDIO_TOKEN is not set"):
        secret("LABEL_STUDIO_TOKEN")
    monkeypatch.setenv("LABEL_STUDIO_TOKEN", "abc")
    assert secret("LABEL_STUDIO_TOKEN") == "abc"


def test_a_loaded_configuration_cannot_be_changed(tmp_path: Path) -> None:
    config = parse_config(SMALL, tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        config.budget.votes = 5  # type: ignore[misc]


def test_the_written_template_loads_and_holds_the_defaults(tmp_path: Path) -> None:
    config = parse_config(yaml.safe_load(render_config()), tmp_path)
    least = parse_config(
        {
            "sources": [{"id": "main", "root": "data"}],
            "label_spec": {"classes": ["yes", "no"]},
            "vendor": {"kind": "file", "folder": "vendor"},
        },
        tmp_path,
    )
    assert config == least


def test_the_written_template_names_every_key() -> None:
    text = render_config()
    missing = {place for place in known_places() if f"{place.rsplit('.', 1)[-1]}:" not in text}
    assert not missing


def test_every_commented_line_of_the_template_loads_when_it_is_uncommented(tmp_path: Path) -> None:
    lines = render_config().splitlines()
    optional = [line for line in lines if line.lstrip().startswith("# ") and is_entry(line)]
    assert len(optional) > 15
    head = next(i for i, line in enumerate(lines) if line.startswith("# or, instead"))
    own = [line for i, line in enumerate(lines) if not (i > head and line.startswith("#"))]
    text = "\n".join(line.replace("# ", "", 1) if is_entry(line) and line.lstrip()[0] == "#" else line for line in own)
    config = parse_config(yaml.safe_load(text), tmp_path)
    assert config.target is not None
    assert config.sources[0].manifest == "manifest*.csv"
    assert config.encoders.image.revision == "main"


@pytest.mark.parametrize("kind", ["simulated", "label-studio"])
def test_the_other_vendors_of_the_template_load(kind: str, tmp_path: Path) -> None:
    blocks = render_config().split("# vendor:\n")[1:]
    [block] = [one for one in blocks if f"kind: {kind}" in one]
    lines = [line[2:] for line in block.splitlines() if line.startswith("#   ")]
    raw = SMALL | yaml.safe_load("vendor:\n" + "\n".join(lines))
    assert parse_config(raw, tmp_path).vendor.kind == kind


@given(
    st.dictionaries(
        st.sampled_from(["name", "budget", "sources", "x", "vendor"]), st.none() | st.integers() | st.text()
    )
)
def test_any_mapping_loads_or_is_a_configuration_error(values: dict[str, object]) -> None:
    try:
        assert isinstance(parse_config(SMALL | values, Path("/base")), WheelConfig)
    except ConfigError as error:
        assert "has mistakes" in str(error)


def is_entry(line: str) -> bool:
    """Whether a comment holds a key and its value, rather than words."""
    head = line.lstrip().removeprefix("#").strip().removeprefix("- ").split(":")[0]
    return ":" in line and head.isidentifier()


def test_two_sources_should_not_share_a_queue(tmp_path: Path) -> None:
    sources = [{"id": name, "root": f"s3://b/{name}", "events": {"queue": "q"}} for name in ("a", "b")]
    with pytest.raises(ConfigError, match="a queue of its own"):
        parse_config({**SMALL, "sources": sources}, tmp_path)
