"""Sentences that say what the figures of a comparison mean, for the terminal and the report."""

from rnnexp.storage.importances import MIN_TRIALS, NOISE_QUANTILE, Importances


def describe(found: Importances) -> str:
    """Returns what the importances of a study mean, or why there are none."""
    if not found.rows:
        if found.n_trials < MIN_TRIALS:
            return f"importances need {MIN_TRIALS} finished trials with a value; this study has {found.n_trials}"
        return "no importances: no setting varied, or all values are equal"
    text = (
        f"importance: how much each setting decides which of the {found.n_trials} trials reach the best tenth "
        f"(PED-ANOVA; the shares add up to 1). By chance: the same with the values shuffled {found.n_shuffles} times, "
        f"median and {NOISE_QUANTILE:.0%} quantile; one setting in 20 without any effect exceeds the quantile."
    )
    if found.n_epochs is not None:
        text += f" Each trial counts with the best value of its first {found.n_epochs} epochs, also a pruned one."
    elif found.n_pruned:
        text += (
            f" {found.n_pruned} of the trials were pruned and count with their best value until then, so a setting "
            "whose good values start slowly seems worse than it is."
        )
    return text
