"""Search: reads the vector index. By words, by examples, by conditions, and any mixture of them."""

from collections.abc import Callable, Mapping, Sequence

from flywheel.encoders.protocol import Encoder
from flywheel.errors import ConfigError, IndexMismatch
from flywheel.index.filters import parse_filter as parse_filter
from flywheel.index.protocol import Condition, Hit, VectorIndex

RANK_OFFSET = 60  # of reciprocal rank fusion, as its authors chose it
DEPTH = 10  # how far beyond the limit rankings are read that are fused


def search_items(
    index: VectorIndex,
    encoders: Mapping[str, Encoder],
    *,
    words: str | None = None,
    like: Sequence[str] = (),
    unlike: Sequence[str] = (),
    where: str | None = None,
    limit: int = 10,
) -> list[Hit]:
    """Return the items that fit best, best first; items with the same content count once.

    Words are looked up in each distinct space of words of the modalities present that know words; several spaces are
    merged by their cosine, which is fair only as far as the encoders' scales agree. Examples are looked up in their
    own encoder's space, or in a common space of words where they are of several modalities. Words and examples
    together are fused by reciprocal rank (Cormack, Clarke and Büttcher 2009, k = 60); the score is then the sum of
    1 / (60 + rank).

    Args:
        index: open (inside its context).
        encoders: by modality; a model is loaded only if words are searched in its space.
        like: item ids to be near to.
        unlike: item ids to be far from.
        where: conditions, see `parse_filter`.

    Returns:
        Hits with the cosine (−1 … 1, higher is nearer) or the fused score (> 0, higher is better); ties by item id.

    Raises:
        ConfigError: nothing to search for, a filter with a mistake, words where no item can be found by them, or
            examples that have no space in common.
        IndexMismatch: an example is not in the index, or the index has not the encoders' spaces.
    """
    conditions = parse_filter(where) if where and where.strip() else []
    _check_request(words, like, unlike, limit)
    present = _present(index, encoders)
    if not present:
        return []
    both = bool(words and (like or unlike))
    depth = limit * DEPTH if both else limit
    rankings: list[list[Hit]] = []
    if words:
        rankings.append(_by_words(index, present, words, conditions, depth))
    if like or unlike:
        rankings.append(_by_examples(index, present, like, unlike, conditions, depth))
    return _fuse(rankings, limit) if both else rankings[0]


def _check_request(words: str | None, like: Sequence[str], unlike: Sequence[str], limit: int) -> None:
    if not words and not like and not unlike:
        raise ConfigError("nothing to search for: give words, or item ids to be like or unlike")
    if limit < 1:
        raise ConfigError(f"the limit must be at least 1, found {limit}")
    torn = sorted(set(like) & set(unlike))
    if torn:
        raise ConfigError(f"{torn[0]} cannot be an example of both what is wanted and what is not")


def _present(index: VectorIndex, encoders: Mapping[str, Encoder]) -> dict[str, Encoder]:
    """The encoders of modalities that the index has items of: no model is loaded for the others."""
    return {
        modality: encoder
        for modality, encoder in sorted(encoders.items())
        if index.count([Condition("modality", equals=modality)])
    }


def _by_words(
    index: VectorIndex, encoders: Mapping[str, Encoder], words: str, where: Sequence[Condition], limit: int
) -> list[Hit]:
    hits: list[Hit] = []
    spaces = {encoder.words_id: encoder for encoder in encoders.values() if encoder.words_id}
    if not spaces:
        raise ConfigError(f"{' and '.join(encoders)} items cannot be found by words; give examples with --like")
    for space, encoder in spaces.items():
        vector: list[float] = encoder.encode_words([words])[0].tolist()
        hits += _distinct(lambda n, space=space, vector=vector: index.query(space, vector, n, where), limit)
    return _fold(hits)[:limit]


def _by_examples(
    index: VectorIndex,
    encoders: Mapping[str, Encoder],
    like: Sequence[str],
    unlike: Sequence[str],
    where: Sequence[Condition],
    limit: int,
) -> list[Hit]:
    space = _common_space(index, encoders, (*like, *unlike))
    return _distinct(lambda n: index.query_by_examples(space, like, unlike, n, where), limit)


def _common_space(index: VectorIndex, encoders: Mapping[str, Encoder], examples: Sequence[str]) -> str:
    chosen = Condition("item_id", any_of=tuple(examples))
    used = {
        modality: encoder
        for modality, encoder in encoders.items()
        if index.count([chosen, Condition("modality", equals=modality)])
    }
    if not used:
        raise IndexMismatch(f"none of the examples is in the index, like {examples[0]}; check the item ids")
    own, words = {encoder.id for encoder in used.values()}, {encoder.words_id for encoder in used.values()}
    if len(own) > 1 and (len(words) > 1 or "" in words):
        raise ConfigError(f"examples of {' and '.join(used)} have no space in common; give examples of one modality")
    return own.pop() if len(own) == 1 else words.pop()


def _distinct(ask: Callable[[int], list[Hit]], limit: int) -> list[Hit]:
    """Ask for more hits until `limit` distinct contents are there, or there are no more."""
    asked = limit
    while True:
        hits = ask(asked)
        folded = _fold(hits)
        if len(folded) >= limit or len(hits) < asked:
            return folded[:limit]
        asked *= 4


def _fold(hits: Sequence[Hit]) -> list[Hit]:
    """Keep the best hit of each content, best first, ties by item id."""
    best: dict[object, Hit] = {}
    for hit in sorted(hits, key=lambda hit: (-hit.score, hit.item_id)):
        best.setdefault(_content(hit), hit)
    return list(best.values())


def _fuse(rankings: Sequence[Sequence[Hit]], limit: int) -> list[Hit]:
    scores: dict[object, float] = {}
    shown: dict[object, Hit] = {}
    for ranking in rankings:
        for rank, hit in enumerate(ranking, start=1):
            scores[_content(hit)] = scores.get(_content(hit), 0.0) + 1 / (RANK_OFFSET + rank)
            shown.setdefault(_content(hit), hit)
    fused = [Hit(hit.item_id, scores[content], hit.payload) for content, hit in shown.items()]
    return sorted(fused, key=lambda hit: (-hit.score, hit.item_id))[:limit]


def _content(hit: Hit) -> object:
    return hit.payload.get("content_id", hit.item_id)
