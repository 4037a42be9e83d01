"""Opening what a configuration names, and how S3 fails."""

import logging
from pathlib import Path
from typing import Any

import pytest

from flywheel.config import S3, WheelConfig, parse_config
from flywheel.errors import ConfigError
from flywheel.objects import (
    FolderStore,
    S3Store,
    StoreUnavailable,
    open_files,
    open_sources,
    open_store,
    open_tables,
    storage_options,
)


def config(tmp_path: Path, **store: Any) -> WheelConfig:
    raw = {
        "store": {"root": "wheel", **store},
        "sources": [{"id": "photos", "root": "photos"}, {"id": "remote", "root": "s3://bucket/in/"}],
        "label_spec": {"classes": ["a", "b"]},
        "vendor": {"kind": "file", "folder": "jobs"},
    }
    return parse_config(raw, tmp_path)


@pytest.fixture
def no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def keys(no_keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anybody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")


def test_roots_should_be_told_apart(tmp_path: Path, keys: None) -> None:
    assert isinstance(open_store(str(tmp_path), S3()), FolderStore)
    store = open_store("s3://bucket/some/prefix/", S3())
    assert isinstance(store, S3Store)
    assert (store.bucket, store.prefix) == ("bucket", "some/prefix/")


@pytest.mark.parametrize("address", ["s3://", "s3:///prefix"])
def test_an_address_without_a_bucket_should_be_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        open_store(address, S3())


def test_sources_should_keep_their_configuration(tmp_path: Path, keys: None) -> None:
    sources = open_sources(config(tmp_path))
    assert list(sources) == ["photos", "remote"]
    assert sources["photos"].objects.address("a.png") == str(tmp_path / "photos" / "a.png")
    assert sources["remote"].objects.address("a.png") == "s3://bucket/in/a.png"
    assert sources["remote"].config.id == "remote"


def test_files_and_tables_should_lie_side_by_side(tmp_path: Path) -> None:
    wheel = config(tmp_path)
    files = open_files(wheel)
    assert list(files.list()) == []
    assert files.address("m.bin") == str(tmp_path / "wheel" / "files" / "m.bin")
    assert open_tables(wheel).uri("items") == str(tmp_path / "wheel" / "tables" / "items")


def test_tables_on_s3_should_take_keys_from_the_chain(tmp_path: Path, keys: None) -> None:
    s3 = S3(endpoint="http://127.0.0.1:9")
    assert open_tables(config(tmp_path, root="s3://bucket/w")).uri("items") == "s3://bucket/w/tables/items"
    assert storage_options(s3) == {
        "AWS_ACCESS_KEY_ID": "anybody",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ALLOW_HTTP": "true",
        "aws_conditional_put": "etag",
    }


def test_tables_on_s3_without_keys_should_say_what_to_set(tmp_path: Path, no_keys: None) -> None:
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID"):
        open_tables(config(tmp_path, root="s3://bucket/w"))


def test_reading_without_keys_should_say_what_to_set(no_keys: None) -> None:
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID"):
        open_store("s3://bucket", S3(endpoint="http://127.0.0.1:9")).read("a")


def test_an_unknown_profile_should_be_named(no_keys: None) -> None:
    with pytest.raises(ConfigError, match="'nobody'"):
        open_store("s3://bucket", S3(profile="nobody"))


@pytest.mark.slow
def test_an_endpoint_that_is_down_should_be_an_error_to_try_later(keys: None) -> None:
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:9"):
        open_store("s3://bucket", S3(endpoint="http://127.0.0.1:9")).read("a")


@pytest.mark.integration
def test_wrong_keys_should_be_refused_and_never_logged(
    seaweedfs: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    caplog.set_level(logging.INFO)
    with pytest.raises(ConfigError, match="refused") as refused:
        open_store(seaweedfs.new_root(), seaweedfs.s3).read("a.txt")
    assert "wrong-secret" not in str(refused.value) + caplog.text


@pytest.mark.integration
def test_a_bucket_that_does_not_exist_should_be_named(seaweedfs: Any) -> None:
    store = open_store("s3://no-such-bucket/in", seaweedfs.s3)
    for ask in (lambda: store.read("a"), lambda: list(store.list())):
        with pytest.raises(ConfigError, match="no-such-bucket"):
            ask()


def test_a_folder_should_send_no_events(tmp_path: Path) -> None:
    source = {"id": "main", "root": "data", "events": {"queue": "q"}}
    raw = {"sources": [source], "label_spec": {"classes": ["a", "b"]}, "vendor": {"kind": "file", "folder": "v"}}
    with pytest.raises(ConfigError, match="'main' has 'events', which only a bucket sends"):
        open_sources(parse_config(raw, tmp_path))
