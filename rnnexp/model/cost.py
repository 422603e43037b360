"""Estimates the cost of a training step, in seconds and memory, from the settings of a trial.

The constants here and in the cells were fitted to the steps of 36 settings on one core of a two-core server (each cell,
units 16 to 128, embedding 16 and 128, with and without dropout, batch 128). The estimates were 0.86 to 1.12 times the
measured seconds. `forecast` corrects them by the finished trials of a home. The number of threads of a trial is
computed from them too.
"""

from rnnexp.config.trial import TrialConfig
from rnnexp.model.cells import Cell, cell

_GFLOP_PER_S = 198.0
_DROPPED_NS = 0.55
"""For each entry of a word's vector, with dropout or with vectors as input."""
_UPDATED_NS = 2.19
"""For each entry of the embedding at each step: the optimizer updates all of them."""
_STEP_MS = 0.8
_WORTH_A_THREAD_S = 0.004
"""Seconds of a step's recurrent layers that justify one more thread. Two threads instead of one took 0.6 to 0.7 of the
time at 66 ms, 0.75 at 16, 0.9 at 3 and the same time at 1."""
_TEXTS_PER_THREAD = 16
FORWARD_SHARE = 0.24
"""Time of the recurrent layers without learning, as a share of their time in a training step."""
_PROCESS_GB = 0.45
OPTIMIZER_SLOTS = {"rmsprop": 1, "adam": 2, "adamw": 2, "sgd": 0}
"""Copies of the weights that an optimizer keeps."""


def _cell(config: TrialConfig) -> Cell:
    return cell(config.model.cell)


def _widths(config: TrialConfig) -> list[int]:
    """Returns the input width of each recurrent layer, one for each direction."""
    model = config.model
    directions = 2 if model.bidirectional else 1
    return [model.embedding_dim] * directions + [directions * model.units] * directions * (model.layers - 1)


def n_params(config: TrialConfig, n_outputs: int) -> int:
    """Returns the number of trainable weights of the network, without those of attention."""
    model, directions = config.model, 2 if config.model.bidirectional else 1
    recurrent = sum(_cell(config).n_weights(width, model.units) for width in _widths(config))
    return config.data.vocab_size * model.embedding_dim + recurrent + (directions * model.units + 1) * n_outputs


def useful_threads(config: TrialConfig, mean_length: float, most: int) -> int:
    """Returns how many threads a training step can use; a thread with too little work costs more than it saves.

    Args:
        config: the trial's settings.
        mean_length: mean number of words of a text.
        most: threads that are available.
    """
    if most == 1:
        return 1
    worth = min(
        recurrence_seconds(config, mean_length) / _WORTH_A_THREAD_S, config.train.batch_size / _TEXTS_PER_THREAD
    )
    return max(1, min(most, int(worth)))


def recurrence_seconds(config: TrialConfig, mean_length: float) -> float:
    """Returns the estimated seconds of one core for the recurrent layers of a training step."""
    model = config.model
    of_model = _cell(config)
    ns_per_word = 0.0
    for width in _widths(config):
        once_per_distinct_word = width == model.embedding_dim and not model.dropout
        products = 6 * of_model.n_gates * model.units * (model.units + width / (5 if once_per_distinct_word else 1))
        ns_per_word += products / _GFLOP_PER_S + of_model.word_ns + of_model.unit_ns * model.units
        if not once_per_distinct_word:
            ns_per_word += 3 * _DROPPED_NS * width
    return config.train.batch_size * mean_length * ns_per_word / 1e9


def update_seconds(config: TrialConfig) -> float:
    """Returns the seconds of one core for the rest of a training step, mostly the update of the embedding."""
    return config.data.vocab_size * config.model.embedding_dim * _UPDATED_NS / 1e9 + _STEP_MS / 1e3


def memory_gb(config: TrialConfig, n_outputs: int, eval_batch_size: int) -> float:
    """Returns the peak private memory of a trial's process: weights, variables of the optimizer, states of a batch."""
    model, train = config.model, config.train
    # Two for the weights and their gradient, two while a checkpoint is written.
    copies = 4 + OPTIMIZER_SLOTS[train.optimizer]
    words = max(train.batch_size, eval_batch_size / 3) * config.data.maxlen  # evaluation keeps no states
    of_model = _cell(config)
    separate = of_model.loops is not None and of_model.loops.separate_input_gradients
    per_unit = of_model.n_gates * (2 if separate else 1) + 3
    floats_per_word = sum(2 * width + per_unit * model.units for width in _widths(config))
    return _PROCESS_GB + 4 * (copies * n_params(config, n_outputs) + words * floats_per_word) / 2**30
