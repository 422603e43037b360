"""Comparisons over seeds: the test keeps its level over all looks, sees what is there, and the words say so."""

import itertools

import numpy as np
import pytest

from rnnexp.analysis import certainty, seed_test, verdicts

RNG = np.random.default_rng


def test_the_first_look_is_after_six_seeds_and_the_last_seed_is_looked_at() -> None:
    assert seed_test.looks(5) == []
    assert seed_test.looks(6) == [6]
    assert seed_test.looks(11) == [6, 8, 10, 11]
    shares = [seed_test.spent_share(n) for n in seed_test.looks(40)]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] < 1


def test_six_equal_signs_decide_between_two_and_five_never_do() -> None:
    assert seed_test.p_value(np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.4])) <= 0.05
    assert seed_test.p_value(np.array([0.1, 0.2, 0.3, 0.1, 0.2])) == 1.0
    assert seed_test.p_value(np.array([0.1, 0.2, 0.3, 0.1, 0.2, -0.05])) > 0.05


def test_equal_scores_have_no_verdict() -> None:
    assert seed_test.p_value(np.zeros(12)) == 1.0


def test_the_sign_of_all_differences_does_not_matter() -> None:
    differences = RNG(0).normal(0.3, 1, 10)
    assert seed_test.p_value(differences) == pytest.approx(seed_test.p_value(-differences))


@pytest.mark.parametrize("n_seeds", [6, 9, 12])
def test_the_test_rejects_no_more_assignments_than_its_level_allows(n_seeds: int) -> None:
    """Exactly: of all assignments of signs to the same sizes, at most the level is rejected at any look."""
    sizes = RNG(n_seeds).exponential(1, n_seeds)
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=n_seeds - 1)))
    for level in (0.02, 0.05, 0.2):
        rejected = [seed_test.rejects(np.concatenate([[1.0], row]) * sizes, level) for row in signs]
        assert np.mean(rejected) <= level
        if n_seeds == 12:
            assert np.mean(rejected) > level * seed_test.spent_share(n_seeds) * 0.9, "nearly all of it is used"


def test_many_seeds_are_tested_with_drawn_assignments() -> None:
    assert seed_test.p_value(RNG(1).normal(1.0, 1, 24)) < 0.01
    assert seed_test.p_value(RNG(2).normal(0.0, 1, 24)) > 0.05


def test_a_p_value_agrees_with_the_decision_at_its_level() -> None:
    for seed in range(20):
        differences = RNG(seed).normal(0.8, 1, 10)
        p = seed_test.p_value(differences)
        assert seed_test.rejects(differences, min(1.0, p + 1e-6)), (seed, p)
        assert not seed_test.rejects(differences, p - 1e-3), (seed, p)


def test_holm_adjusts_for_the_number_of_tests() -> None:
    assert certainty.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert certainty.holm([0.5, 0.9]) == [1.0, 1.0]
    assert certainty.holm([]) == []


def test_a_clear_leader_is_decided_and_near_ones_are_not() -> None:
    noise = RNG(0).normal(0, 0.004, 10)
    scores = np.array([0.860 + noise, 0.880 + noise + RNG(1).normal(0, 0.003, 10), 0.861 + noise[::-1]])
    found = certainty.compare(scores)
    assert found.leader == 1
    assert found.is_decided
    assert [one.second for one in found.comparisons] == sorted((0, 2), key=lambda place: -scores[place].mean())
    for one in found.comparisons:
        assert one.interval[0] < one.difference < one.interval[1]
    near = certainty.compare(scores[[0, 2]])
    assert not near.is_decided
    assert near.comparisons[0].detectable is not None
    assert near.comparisons[0].detectable > near.comparisons[0].difference


def test_a_detectable_difference_is_seen_in_four_of_five_studies() -> None:
    differences = RNG(3).normal(0, 1, 12)
    size = certainty.detectable(differences, 0.05)
    assert size is not None
    rng, sd = RNG(4), (differences - differences.mean()).std()
    seen = np.mean([seed_test.rejects(rng.normal(size, sd, 12), 0.05) for _ in range(400)])
    assert 0.7 < seen < 0.92


def test_the_interval_covers_the_true_mean() -> None:
    rng = RNG(5)
    covered = 0
    for _ in range(100):
        low, high = certainty.interval(rng.normal(1.0, 2.0, 12))
        covered += low <= 1.0 <= high
    assert covered >= 85
    assert certainty.interval(np.full(7, 0.5)) == (0.5, 0.5)


def test_what_is_expected_of_the_best_of_many_is_less_than_its_value() -> None:
    rng, noise = RNG(6), 0.01
    true = rng.normal(0.85, 0.01, 60)
    values = true + rng.normal(0, noise, 60)
    expected = certainty.expected_when_repeated(list(values), [1] * 60, noise)
    best = int(np.argmax(values))
    assert expected[best] < values[best]
    assert abs(expected[best] - true[best]) < abs(values[best] - true[best])
    assert np.mean((np.array(expected) - true) ** 2) < 0.8 * np.mean((values - true) ** 2)
    assert np.argsort(expected).tolist() == np.argsort(values).tolist(), "with equal numbers of seeds the order stays"
    many = certainty.expected_when_repeated(list(values), [400] * 60, noise)
    assert np.abs(np.array(many) - values).max() < 0.002


def test_the_noise_of_seeds_is_pooled_over_the_configurations() -> None:
    assert certainty.noise_of_seeds([[0.8], [0.9]]) is None
    assert certainty.noise_of_seeds([[0.8, 0.82], [0.7, 0.74], [0.5]]) == pytest.approx(np.sqrt((2e-4 + 8e-4) / 2))


def test_the_noise_of_seeds_leaves_out_what_a_split_does_to_all() -> None:
    rng = RNG(9)
    scores = np.array([0.88, 0.87, 0.85])[:, None] + rng.normal(0, 0.01, 400) + rng.normal(0, 0.003, (3, 400))
    assert certainty.noise_of_seeds([], [scores]) == pytest.approx(0.003, rel=0.1)
    assert certainty.noise_of_seeds(scores.tolist()) == pytest.approx(0.0104, rel=0.1)


def test_the_interval_on_the_test_part_is_of_seeds_and_texts() -> None:
    rng = RNG(7)
    texts = rng.random(2000) < 0.85
    same = np.array([texts] * 5)
    mean, (low, high) = certainty.mean_over_seeds_and_texts(same)
    assert mean == pytest.approx(texts.mean())
    binomial = 1.96 * np.sqrt(0.85 * 0.15 / 2000)
    assert high - low == pytest.approx(2 * binomial, rel=0.2)
    shifted = np.array([rng.random(2000) < share for share in (0.75, 0.80, 0.85, 0.90, 0.95)])
    _, (low, high) = certainty.mean_over_seeds_and_texts(shifted)
    assert high - low > 0.08


def test_the_words_say_who_wins_or_what_would_have_been_seen() -> None:
    noise = RNG(0).normal(0, 0.004, 10)
    scores = np.array([0.880 + noise, 0.860 + RNG(1).normal(0, 0.004, 10), 0.8795 + noise[::-1]])
    names, seconds = ("LSTM(64)", "GRU(38)", "LSTM(61)"), (60.0, 20.0, 58.0)
    by_name = dict(
        zip(
            ("LSTM(61)", "GRU(38)"),
            verdicts.sentences(certainty.compare(scores), names, "val_accuracy", seconds),
            strict=True,
        )
    )
    assert by_name["GRU(38)"].startswith("LSTM(64) beats GRU(38) by ")
    assert " points (95%: " in by_name["GRU(38)"]
    assert "10 seeds" in by_name["GRU(38)"]
    assert by_name["LSTM(61)"].startswith("LSTM(64) and LSTM(61) cannot be told apart with 10 seeds")
    assert "would have been seen four times of five" in by_name["LSTM(61)"]


@pytest.mark.parametrize("noise", [0.01, 0.001])
def test_one_result_far_from_all_others_does_not_change_what_is_expected_of_them(noise: float) -> None:
    losses = [0.30, 0.31, 0.35, 0.36, 0.40]
    expected = certainty.expected_when_repeated(losses, [1] * 5, noise)
    beside = certainty.expected_when_repeated([*losses, 50.0], [1] * 6, noise)
    assert beside[5] == pytest.approx(50.0, abs=1e-6)
    assert beside[:5] == pytest.approx(expected, abs=noise / 2)
    assert np.ptp(beside[:5]) > 0.05
