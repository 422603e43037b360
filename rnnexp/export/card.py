"""The model card of a bundle: what the model is for, what it was trained on, how good it is, and what it cannot do.

Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnexp.errors import escaped
from rnnexp.export.bundle import Source, versions
from rnnexp.export.check import PROBES, Checked

Interval = Callable[[float, int], tuple[float, float]]

_ACCURACIES = ("accuracy", "val_accuracy")


@dataclass(frozen=True)
class Facts:
    """What the card says that is not in the bundle.

    Attributes:
        selection: how the model was selected, in sentences.
        data: description of the data set.
        licence: of the data.
        interval: the 95% interval of an accuracy on a number of texts.
        test_results: accuracies of this trial on the test part, and on how many texts.
    """

    selection: Sequence[str]
    data: str
    licence: str
    interval: Interval
    test_results: Sequence[tuple[float, int]]


def markdown(source: Source, found: Checked, measured: Mapping[str, Mapping[str, Any]], facts: Facts) -> str:
    """Returns the card in Markdown."""
    about, labels = source.origin, [_text(label) for label in source.store.labels]
    parts = [
        f"# Model card: {_text(about['study'])}, trial {about['trial']}",
        f"A recurrent network that labels a text as {_or(labels)}.",
        _section("Use", _use(source)),
        _section("How it was selected", [" ".join(_text(sentence) for sentence in facts.selection)]),
        _section("Data", _data(source, facts)),
        _section("Results", [_results(source, facts)]),
        _section("Formats", [_formats(measured)]),
        _section("Probes", _probes(found)),
        _section("Limits", _limits(source, found)),
        _section("Versions", [_versions(list(measured))]),
        _section("Settings", [_settings(source)]),
    ]
    return "\n\n".join(parts) + "\n"


def html(card: str, title: str) -> str:
    """Returns a card as a page of its own."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(card)
    return f"<!doctype html>\n<html lang=en><meta charset=utf-8><title>{_html(title)}</title>{_STYLE}\n{body}</html>\n"


def _use(source: Source) -> list[str]:
    name, trial = source.origin["study"], source.origin["trial"]
    return [
        f"Input: raw texts of the kind in the section Data. Output: a probability for each label. "
        f"It is trial {trial} of the study {_text(name)}.",
        '```console\nrnnexp predict BUNDLE "a text"\npython -m rnnexp.runtime BUNDLE "a text"   # format onnx: without '
        "TensorFlow\nrnnexp serve BUNDLE\n```",
    ]


def _data(source: Source, facts: Facts) -> list[str]:
    store, data = source.store, source.config.data
    parts = store.split(data)
    held = {
        "by_film": "reviews of one film are in one part, approximately",
        "tail": "the last rows",
        "stratified": "a random draw that keeps the share of each label",
    }[data.split]
    grouped = f"; rows with the same {_text(data.group)} are in one part" if data.group is not None else ""
    return [
        f"{_text(store.name)}: {_text(facts.data)}. Trained on {len(parts.train):,} texts, validated on "
        f"{len(parts.validation):,} ({held}{grouped}); the test part has {len(store.test_rows):,}. "
        f"Digest of the data: `{store.digest}`.",
        f"Licence of the data: {_text(facts.licence)}",
    ]


def _results(source: Source, facts: Facts) -> str:
    split = source.store.split(source.config.data)
    rows = []
    for name, value in source.origin["metrics"].items():
        n_texts = len(split.validation) if name.startswith("val_") else len(split.train)
        part = "validation" if name.startswith("val_") else "training"
        interval = ""
        if name == "val_accuracy":
            low, high = facts.interval(value, n_texts)
            interval = f"{low:.4f} to {high:.4f}"
        if name in (*_ACCURACIES, "loss", "val_loss"):
            rows.append((f"{name.removeprefix('val_')}, {part}", f"{value:.4f}", interval, f"{n_texts:,}"))
    for accuracy, n_texts in facts.test_results:
        low, high = facts.interval(accuracy, n_texts)
        rows.append(("accuracy, test", f"{accuracy:.4f}", f"{low:.4f} to {high:.4f}", f"{n_texts:,}"))
    note = "" if facts.test_results else "\n\nThe test part was not used for this model."
    heads = ("metric", "value", "95% interval over the choice of texts", "texts")
    return f"At epoch {source.origin['best_epoch']}:\n\n{_table(heads, rows)}{note}"


def _formats(measured: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (
            name,
            f"{values['bytes'] / 1e6:.2f} MB",
            f"{values['accuracy']:.4f}",
            f"{values['largest_difference']:.1g}",
            f"{values['one_text_ms']:.2f} ms",
            f"{values['batch_of_64_ms']:.1f} ms",
        )
        for name, values in measured.items()
    ]
    n_texts = next(iter(measured.values()))["n_texts"]
    heads = ("format", "size", "accuracy", "difference from training", "one text", "64 texts")
    return (
        "Each format was loaded in a new process; its probabilities were compared with those of training on "
        f"{n_texts:,} held-out texts, and its accuracy is on the same texts. Times are medians on the machine of the "
        f"export, with tokenizing.\n\n{_table(heads, rows)}"
    )


def _probes(found: Checked) -> list[str]:
    rows = [
        (f"“{text}”", _text(label), f"{probability:.3f}")
        for text, (label, probability) in zip(PROBES, found.probes, strict=True)
    ]
    return [_table(("text", "label", "probability"), rows), f"The two texts are {_told_apart(found)}."]


def _told_apart(found: Checked) -> str:
    (first, _), (second, _) = found.probes
    return (
        "told apart" if first != second else "**not** told apart: one word that reverses the meaning changed no label"
    )


def _limits(source: Source, found: Checked) -> list[str]:
    data = source.config.data
    (first, _), (second, _) = found.probes
    lines = [
        f"It was trained on {_text(source.store.name)} only; on other kinds of text its accuracy is not known.",
        f"It reads the last {data.maxlen:,} tokens of a text; what comes before is ignored.",
        f"It knows {len(source.vocabulary.words):,} words; every other word is the same unknown word to it.",
        "Its probabilities were not calibrated: 0.9 does not mean that nine of ten such labels are right.",
        "It always answers with one of its labels, also for texts that have none of them, or are in another language.",
    ]
    if first == second:
        lines.append("It can miss a negation, see Probes.")
    if not data.keeps_groups:
        lines.append(
            "The validation part was drawn at random: if texts of one author or subject are in both parts, its value "
            "is too good."
        )
    return ["\n".join(f"- {line}" for line in lines)]


def _versions(formats: Sequence[str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions(formats).items())


def _settings(source: Source) -> str:
    rows = [(f"`{name}`", _text(value)) for name, value in source.config.settings().items() if value is not None]
    return _table(("setting", "value"), rows)


def _section(title: str, paragraphs: Sequence[str]) -> str:
    return "\n\n".join([f"## {title}", *paragraphs])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _text(value: object) -> str:
    """Returns a value as one line in which Markdown finds no markup of its own."""
    return "".join(f"\\{char}" if char in "\\`*[]<>#" else char for char in escaped(str(value)))


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _or(names: Sequence[str]) -> str:
    return " or ".join(names) if len(names) < 6 else f"one of {len(names)} labels"


_STYLE = """<meta name=viewport content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { border-bottom: 1px solid #8888; padding: .25rem .75rem .25rem 0; text-align: left; font-size: .95em; }
pre { overflow-x: auto; background: #8882; padding: .75rem; }
h2 { margin-top: 2rem; }
</style>"""
