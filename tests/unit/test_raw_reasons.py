"""The catalogue of reason codes."""

import pytest

from flywheel.errors import DataError
from flywheel.raw import reasons
from flywheel.raw.reasons import CATALOGUE, REASONS, find_reason


def test_every_code_should_be_explained_once() -> None:
    named = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}
    assert named == set(REASONS) == set(CATALOGUE)
    assert len({reason.meaning for reason in CATALOGUE.values()}) == len(REASONS)


@pytest.mark.parametrize("reason", CATALOGUE.values(), ids=REASONS)
def test_an_explanation_should_be_whole(reason: reasons.Reason) -> None:
    assert reason.code.isidentifier() and reason.code == reason.code.lower()
    for sentence in (reason.meaning, reason.next_step):
        assert sentence.endswith(".") and sentence[0].isupper() and "\n" not in sentence
    assert 1 <= len(reason.causes) <= 4


def test_what_keeps_its_item_should_say_so() -> None:
    assert {reason.code for reason in CATALOGUE.values() if reason.keeps_item} == {"unknown_label", "bad_split"}
    assert all("the item is kept" in reason.meaning for reason in CATALOGUE.values() if reason.keeps_item)


def test_a_code_that_is_none_should_name_the_nearest() -> None:
    assert find_reason("too_large").code == "too_large"
    with pytest.raises(DataError, match="did you mean 'truncated'"):
        find_reason("truncate")
    with pytest.raises(DataError, match="the codes are: empty"):
        find_reason("zzz")
