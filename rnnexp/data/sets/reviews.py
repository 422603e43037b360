"""Generated film reviews whose label depends on words far from the end; no network, any size.

A review opens with one or two sentences that state the label. Eight to sixteen neutral sentences follow, about 60 to
120 words. A model has to remember the verdict over that distance. Two reviews in three state it again near the end, so
that every model learns something. Negation ("was never dull") and contrast ("although the plot was dull, the acting was
superb": the main clause decides) prevent a model from counting words.

With 32 units, five epochs and the other settings of `sweeps/quickstart.yaml`, GRU reached a validation accuracy of 0.90
to 0.92, LSTM of 0.79 to 0.94 and SimpleRNN of 0.80 to 0.91 (five seeds): most plain networks learn the verdicts near
the end and forget the distant ones.
"""

from collections.abc import Iterator

import numpy as np

from rnnexp.config.trial import DataConfig
from rnnexp.data.source import Encoded, encode_texts

_SIZE = 25_000
_GENERATOR = "reviews 4"
"""Changes with the generated texts."""

_LABELS = ("negative", "positive")

_NEGATED = 0.05
"""Share of the clauses that negate the opposite."""

_CONTRASTED = 0.2
"""Share of the verdicts that have a clause which states the opposite."""

_VERDICTS = (1, 2)
_FILLERS_BETWEEN = (8, 16)
"""Least and largest number of neutral sentences after the first verdicts."""

_REPEATED = 0.65
"""Share of the reviews that state the verdict again near the end."""

_SUBJECTS = (
    "the plot", "the acting", "the music", "the dialogue", "the ending", "the camera work", "the pace", "the cast",
    "the story", "the direction", "the first half", "the second half", "the humour", "the script", "the editing",
)  # fmt: skip
_PRAISE = (
    "superb", "moving", "funny", "gripping", "clever", "charming", "brilliant", "convincing", "fresh", "wonderful",
    "touching", "sharp", "elegant", "memorable", "delightful",
)  # fmt: skip
_BLAME = (
    "dull", "predictable", "clumsy", "boring", "shallow", "tedious", "awful", "lifeless", "stale", "horrible",
    "pointless", "messy", "wooden", "forgettable", "annoying",
)  # fmt: skip
_DEGREES = ("really", "quite", "truly", "rather", "simply", "", "", "")
_NEGATIONS = ("was not", "was never", "was hardly", "was far from", "was anything but")
_ALTHOUGH = ("although", "even though", "while")
_BUT = ("even if", "despite the fact that", "never mind that")
_OPENINGS = (
    "I saw this one last week with two friends .", "It had been on my list for years .",
    "A colleague told me to watch it .", "We went in without having read a thing about it .",
    "It was shown late on a Sunday evening .", "I had read the book before .",
)  # fmt: skip
_FILLERS = (
    "It runs for about two hours .", "The scenes in the harbour take up much of the time .",
    "There are three brothers and one of them leaves .", "Most of it was shot in the north of the country .",
    "The credits name a dozen people for the costumes .", "A train crosses the screen more than once .",
    "The year is 1962 and everybody smokes .", "Somebody behind us was eating all the time .",
    "The younger sister opens a shop .", "Then the family moves to the city .", "There is a letter that nobody reads .",
    "The dog appears in nearly all the scenes .", "In the middle the story jumps ten years .",
    "The same director made a film about a lighthouse before .", "The father works at the post office .",
    "A neighbour keeps bees on the roof .", "They spend the winter in a house by the lake .",
    "The older brother learns to play the piano .", "Two of the actors are known from television .",
    "It was filmed in black and white .", "The first scene is set at a railway station .",
    "A storm destroys the bridge to the island .", "The teacher lends the boy a bicycle .",
    "Nobody in the village owns a telephone .", "The grandmother tells a story about the war .",
    "Some of the songs are sung in Italian .", "The wedding takes place in the garden .",
    "The cinema was about half full .", "We sat in the third row on the left .",
    "The film was shown with subtitles .", "A doctor comes to visit every Thursday .",
    "The map on the wall is an old one .", "The boat is sold to a man from the south .",
    "Their aunt writes for a newspaper .", "The last part is set in another country .",
    "A clock can be heard in the kitchen .", "The uncle repairs radios in the cellar .",
    "It is based on a novel in three volumes .", "The children build a hut in the woods .",
    "There was a short break after an hour .",
)  # fmt: skip
_CLOSINGS = (
    "That is what I think of it .", "So much for that evening .", "Make of it what you will .",
    "My friends said the same .", "That settles it for me .",
)  # fmt: skip


def description() -> str:
    """Returns a description of one line."""
    return "generated film reviews, negative or positive; the label depends on words far from the end; no network"


def licence() -> str:
    """Returns who may use the texts."""
    return "The texts are generated by this program, under its licence, Apache 2.0."


def local_path() -> str | None:
    """Returns the place of the data."""
    return "generated"


def identity(config: DataConfig) -> str:
    """Returns a text that changes when the generated rows change."""
    split = (config.split, config.validation_split, config.train_samples)
    return f"{_GENERATOR} seed {config.seed} rows {n_rows(config)} split {split}"


def identity_of_test_part(config: DataConfig) -> str:
    """Returns a text that changes when other rows are in the test part."""
    split = (config.split, config.validation_split)
    return f"{_GENERATOR} seed {config.seed} rows {n_rows(config)} split {split}"


def n_rows(config: DataConfig) -> int:
    """Returns the number of generated reviews: 25,000, or as many as `train_samples` needs."""
    if config.train_samples is None:
        return _SIZE
    share = (1 - config.validation_split) / (1 + config.validation_split)
    return max(_SIZE, int(config.train_samples / share) + 8)


def read(config: DataConfig) -> Encoded:
    """Generates the reviews; about half of them are positive."""
    rows = list(generate(n_rows(config), config.seed))
    labels = np.array([label for _, label in rows], dtype=np.int32)
    return encode_texts([text for text, _ in rows], labels, _LABELS, config)


def generate(n: int, seed: int) -> Iterator[tuple[str, int]]:
    """Yields `n` reviews and their labels, 1 for positive. A review depends only on the seed and its row number."""
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        label = int(rng.integers(2))
        yield _review(rng, positive=bool(label)), label


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _clause(rng: np.random.Generator, *, positive: bool) -> str:
    """Returns one opinion; a few say the opposite and negate it."""
    subject, degree = _pick(rng, _SUBJECTS), _pick(rng, _DEGREES)
    if rng.random() < _NEGATED:
        return f"{subject} {_pick(rng, _NEGATIONS)} {_pick(rng, _BLAME if positive else _PRAISE)}"
    return " ".join(f"{subject} was {degree} {_pick(rng, _PRAISE if positive else _BLAME)}".split())


def _verdict(rng: np.random.Generator, *, positive: bool) -> str:
    """Returns a sentence that states the label; some have a subordinate clause that states the opposite."""
    main, other = _clause(rng, positive=positive), _clause(rng, positive=not positive)
    draw = rng.random()
    if draw < _CONTRASTED / 2:
        return f"{_pick(rng, _ALTHOUGH)} {other} , {main} .".capitalize()
    if draw < _CONTRASTED:
        return f"{main} , {_pick(rng, _BUT)} {other} .".capitalize()
    return f"{main} .".capitalize()


def _review(rng: np.random.Generator, *, positive: bool) -> str:
    verdicts = [_verdict(rng, positive=positive) for _ in range(_between(rng, _VERDICTS))]
    between = [_FILLERS[row] for row in rng.permutation(len(_FILLERS))[: _between(rng, _FILLERS_BETWEEN)]]
    repeated = [_verdict(rng, positive=positive)] if rng.random() < _REPEATED else []
    return " ".join([_pick(rng, _OPENINGS), *verdicts, *between, *repeated, _pick(rng, _CLOSINGS)])


def _between(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    return int(rng.integers(bounds[0], bounds[1] + 1))
