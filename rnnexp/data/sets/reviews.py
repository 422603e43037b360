"""Generated film reviews: a small grammar whose verdicts need order, not just words; no network, any size.

Three things keep a bag of words from solving it: negation ("was never dull"), contrast ("although the plot was dull,
the acting was superb": the main clause decides) and distance (neutral sentences between the verdict and the end).
"""

from collections.abc import Iterator

import numpy as np

from rnnexp.config.trial import DataConfig
from rnnexp.data.source import Encoded, encode_texts

_SIZE = 25_000
_LABELS = ("negative", "positive")

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
    "The same director made a film about a lighthouse before .",
)  # fmt: skip
_CLOSINGS = (
    "That is what I think of it .", "So much for that evening .", "Make of it what you will .",
    "My friends said the same .", "That settles it for me .",
)  # fmt: skip


def about() -> str:
    """Returns one line that says what the data are."""
    return "generated film reviews, negative or positive, with negation, contrast and distance; no network"


def local_path() -> str | None:
    """Returns where the data are."""
    return "generated"


def identity(config: DataConfig) -> str:
    """Returns what the generated rows follow from."""
    split = (config.split, config.validation_split, config.train_samples)
    return f"reviews 3 seed {config.seed} rows {n_rows(config)} split {split}"


def n_rows(config: DataConfig) -> int:
    """Returns how many reviews are generated: 25,000, or as many as `train_samples` needs."""
    if config.train_samples is None:
        return _SIZE
    share = (1 - config.validation_split) / (1 + config.validation_split)
    return max(_SIZE, int(config.train_samples / share) + 8)


def read(config: DataConfig) -> Encoded:
    """Generates the reviews, half of them positive."""
    rows = list(generate(n_rows(config), config.seed))
    labels = np.array([label for _, label in rows], dtype=np.int32)
    return encode_texts([text for text, _ in rows], labels, _LABELS, config)


def generate(n: int, seed: int) -> Iterator[tuple[str, int]]:
    """Yields `n` reviews and their labels, 1 for positive; the first ones do not depend on `n`."""
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        label = int(rng.integers(2))
        yield _review(rng, positive=bool(label)), label


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _clause(rng: np.random.Generator, *, positive: bool) -> str:
    """One opinion; every seventh says the opposite and negates it."""
    subject, degree = _pick(rng, _SUBJECTS), _pick(rng, _DEGREES)
    if rng.random() < 0.15:
        return f"{subject} {_pick(rng, _NEGATIONS)} {_pick(rng, _BLAME if positive else _PRAISE)}"
    return " ".join(f"{subject} was {degree} {_pick(rng, _PRAISE if positive else _BLAME)}".split())


def _verdict(rng: np.random.Generator, *, positive: bool) -> str:
    """The sentence that decides; three in ten have a clause that points the other way, before or after."""
    main, other = _clause(rng, positive=positive), _clause(rng, positive=not positive)
    draw = rng.random()
    if draw < 0.15:
        return f"{_pick(rng, _ALTHOUGH)} {other} , {main} .".capitalize()
    if draw < 0.3:
        return f"{main} , {_pick(rng, _BUT)} {other} .".capitalize()
    return f"{main} .".capitalize()


def _review(rng: np.random.Generator, *, positive: bool) -> str:
    fillers = [_pick(rng, _FILLERS) for _ in range(int(rng.integers(0, 6)))]
    place = int(rng.integers(len(fillers) + 1))
    verdicts = [_verdict(rng, positive=positive) for _ in range(int(rng.integers(2, 5)))]
    return " ".join([_pick(rng, _OPENINGS), *fillers[:place], *verdicts, *fillers[place:], _pick(rng, _CLOSINGS)])
