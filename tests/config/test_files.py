"""What a YAML file may contain: no aliases, no huge values; and files that are no YAML."""

from pathlib import Path

import pytest

from rnnexp.config.files import dump, parse, parse_assignment
from rnnexp.config.load import load_sweep
from rnnexp.errors import ConfigError, UserError
from tests.config.loading import HEAD, faults_of, load


def test_a_duplicate_key_is_refused(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, HEAD + "base: {model: {units: 8,\n    units: 16}}\n")
    assert fault == "line 4, column 5: not valid YAML: duplicate key 'units'"


def test_a_number_with_an_exponent_needs_no_decimal_point(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        HEAD + "base: {train: {learning_rate: 1e-3}}\n"
        "space: {train.learning_rate: {float: [1e-4, 5E-1]}, model.dropout: {choice: [1e-1, .5]}}\n",
    )
    assert config.base.train.learning_rate == 0.001
    assert config.space["train.learning_rate"].extremes() == (0.0001, 0.5)
    assert config.space["model.dropout"].extremes() == (0.1, 0.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "space:\n  model.units: &width {int: [16, 64]}\n  model.embedding_dim: *width\n",
            "line 4, column 16: the anchor &width is not supported; write the values out",
        ),
        ("base: *width\n", "line 3, column 7: the alias *width is not supported; write the values out"),
        ("base: {&a model: {}}\n", "line 3, column 8: the anchor &a is not supported; write the values out"),
        (
            "base:\n  <<: {model: {units: 8}}\n",
            "line 4, column 3: the merge key << is not supported; write the values out",
        ),
        ("base: !!map &a {}\n", "line 3, column 7: the anchor &a is not supported; write the values out"),
        (f"base: &{'a' * 5000} 5\n", f"line 3, column 7: the anchor &{'a' * 76}... is not supported"),
    ],
)
def test_anchors_aliases_and_merge_keys_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    (fault,) = faults_of(tmp_path, HEAD + text)
    assert fault.startswith(expected[:90])


def test_aliases_of_aliases_are_not_expanded(tmp_path: Path) -> None:
    """Each of the 40 levels repeats the one before ten times: expanded, the file has 10**40 values."""
    levels = "".join(f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 40))
    (fault,) = faults_of(tmp_path, f"{HEAD}space:\n  l0: &l0 [1]\n{levels}")
    assert fault.startswith("line 4, column 7: the anchor &l0 is not supported")
    merges = "".join(f"  l{n}: &l{n}\n    <<: [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 40))
    (fault,) = faults_of(tmp_path, f"{HEAD}space:\n  l0: &l0 {{a: 1}}\n{merges}")
    assert "the anchor &l0 is not supported" in fault


def test_the_value_of_a_flag_may_contain_no_alias() -> None:
    with pytest.raises(ConfigError, match=r"^--set model.units: line 1, column 2: the anchor &a is not supported"):
        parse_assignment("model.units=[&a 5, *a]")


def test_a_star_or_an_ampersand_in_a_text_is_no_alias(tmp_path: Path) -> None:
    config = load(tmp_path, HEAD + "base: {data: {path: 'a.csv', text: '*text', label: this & that}}\n")
    assert (config.base.data.text, config.base.data.label) == ("*text", "this & that")


def test_a_written_file_has_no_alias() -> None:
    row = [1, 2]
    assert parse(dump({"a": row, "b": row}), "written") == {"a": row, "b": row}


_HUGE = "x" * 100_000
_MANY = ", ".join(str(number) for number in range(20_000))


@pytest.mark.parametrize(
    "fragment",
    [
        f"base: {{model: {{cell: {_HUGE}}}}}",
        f"base: {{model: {{units: {_HUGE}}}}}",
        f"base: {{model: {{{_HUGE}: 1}}}}",
        f"base: {{{_HUGE}: 1}}",
        f"{_HUGE}: 1",
        f"base: [{_MANY}]",
        f"space: [{_MANY}]",
        f"objective: {{metric: [{_MANY}]}}",
        f"objective: {{metric: {_HUGE}}}",
        f"sampler: {{name: {_HUGE}}}",
        f"space: {{{_HUGE}: 1}}",
        f"space: {{model.units: {{choice: [1, {_HUGE}, {_HUGE}]}}}}",
        f"space: {{model.units: {{choice: [1, {_HUGE}]}}}}",
        f"space: {{model.units: {{int: [1, 2], when: {{{_HUGE}: 1}}}}}}",
        f"space: {{model.units: {{int: [1, 2], when: {{clip.kind: {_HUGE}}}}}}}",
        f"space: {{train.seed: {{choice: [{_MANY}]}}}}\ntry: [{{train.seed: -1}}]",
        f"try: [{{{_HUGE}: 1}}]",
        f"base: {{data: {{name: {_HUGE}}}}}",
        f"base: {{data: {{name: {'?' * 100_000}}}}}",
        f"base: {{train: {{monitor: {_HUGE}}}}}",
        f"base: {{? {_HUGE} : 1, ? {_HUGE} : 2}}",
    ],
    ids=lambda fragment: fragment[:40],
)
def test_a_message_does_not_repeat_a_long_value(tmp_path: Path, fragment: str) -> None:
    for fault in faults_of(tmp_path, f"{HEAD}{fragment}\n"):
        assert len(fault) < 1500


def test_a_name_of_several_lines_stays_on_one_line(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, HEAD + '"a\\nb\\e[2J": 1\n')
    assert fault.startswith(r"a\nb\x1b[2J: unknown setting")


def test_a_file_with_very_many_faults_is_reported_in_part(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, HEAD + "".join(f"key{number}: 1\n" for number in range(500)))
    assert len(faults) == 51
    assert faults[-1] == "and 450 more faults"


@pytest.mark.parametrize("digits", ["0x" + "f" * 5000, "9" * 200, "9" * 5000, "0b" + "1" * 9000, "1" + ":59" * 2000])
@pytest.mark.parametrize(
    "place", ["base: {{model: {{units: {}}}}}", "? {}\n: 1", "study: {}", "space: {{model.units: {{int: [1, {}]}}}}"]
)
def test_a_number_of_very_many_digits_is_refused(tmp_path: Path, digits: str, place: str) -> None:
    (fault,) = faults_of(tmp_path, f"budget: {{trials: 1}}\n{place.format(digits)}\n")
    assert "number is too large" in fault or "Exceeds the limit" in fault


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, HEAD + "# note\n" * 50_000)
    assert fault == "has more than 256,000 bytes; a file of settings is much smaller"


def test_a_grid_of_too_many_values_is_refused(tmp_path: Path) -> None:
    grid = "sampler: {name: grid}\nspace: "
    (fault,) = faults_of(tmp_path, f"{HEAD}{grid}{{train.seed: {{int: [1, 1000000000000]}}}}\n")
    assert fault.endswith("or a step, and at most 100,000 values")
    assert faults_of(tmp_path, f"{HEAD}{grid}{{model.dropout: {{float: [0, 0.5], step: 1e-9}}}}\n")
    for step in ("1e-300", "1e-17"):
        (fault,) = faults_of(tmp_path, f"{HEAD}{grid}{{model.dropout: {{float: [0, 0.5], step: {step}}}}}\n")
        assert "too small for the bounds [0.0, 0.5]" in fault


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"study: caf\xe9\n", "not UTF-8 (byte 10); save it as UTF-8"),
        (b"study: [1\n", "line 2, column 1: not valid YAML"),
        (b"study: !!python/object/apply:os.getcwd []\n", "line 1, column 8: not valid YAML"),
        (b"a: {[1]: 2}\n", "not valid YAML: found unhashable key"),
        (b"study: 2024-99-99\n", "not valid YAML"),
        (b"study: \x00\n", "not valid YAML"),
        (b"- a\n- b\n", "got a list, expected a mapping of settings"),
        (b"words\n", "got a str, expected a mapping of settings"),
        (b"a: 1\n---\nb: 2\n", "not valid YAML: but found another document"),
    ],
)
def test_a_file_that_is_not_a_yaml_mapping_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    (fault,) = caught.value.faults
    assert expected in fault
    assert str(caught.value) == f"{path}: {fault}"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.yaml: no such file; sweep files are in sweeps/"):
        load_sweep(tmp_path / "gone.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        load_sweep(tmp_path)
