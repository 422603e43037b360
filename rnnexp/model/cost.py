"""What a training step of a network costs, in seconds and memory, estimated from its settings.

The constants were fitted to the steps of 36 settings on one core of a two-core server (each cell, units 16 to 128,
embedding 16 and 128, with and without dropout, batch 128); the estimates were 0.86 to 1.12 times the measured seconds.
`forecast` corrects them by the finished trials of a home. The number of threads of a trial follows from them too.
"""

from rnnexp.config.trial import TrialConfig

_GATES = {"simple_rnn": 1, "gru": 3}
_LSTM_GATES = 4
_GFLOP_PER_S = 198.0
_WORD_NS = {"simple_rnn": (0.0, 1.73), "gru": (209.0, 4.7)}
_LSTM_WORD_NS = (209.0, 5.17)
"""Beside products: a word, and each of its units."""
_DROPPED_NS = 0.55
"""Each entry of a word's vector where some are dropped, or where vectors come in."""
_UPDATED_NS = 2.19
"""Each entry of the embedding, a step: the optimizer goes over all of them."""
_STEP_MS = 0.8
_WORTH_A_THREAD_S = 0.004
"""Of a step's recurrent layers. Two threads instead of one took 0.6 to 0.7 of the time at 66 ms, 0.75 at 16, 0.9 at 3
and as long at 1."""
_REVIEWS_A_THREAD = 16
FORWARD_SHARE = 0.24
"""Of a training step's recurrent layers, the share that a step without learning takes."""
_PROCESS_GB = 0.45
OPTIMIZER_SLOTS = {"rmsprop": 1, "adam": 2, "adamw": 2, "sgd": 0}
"""Copies of the weights that an optimizer keeps."""


def _gates(config: TrialConfig) -> int:
    return _GATES.get(config.model.cell, _LSTM_GATES)


def _widths(config: TrialConfig) -> list[int]:
    """Returns the width that each recurrent layer reads, one a direction."""
    model = config.model
    directions = 2 if model.bidirectional else 1
    return [model.embedding_dim] * directions + [directions * model.units] * directions * (model.layers - 1)


def n_params(config: TrialConfig, n_outputs: int) -> int:
    """Returns the trainable weights of the network that the settings describe; a new cell counts as an LSTM."""
    model, directions = config.model, 2 if config.model.bidirectional else 1
    recurrent = sum(_gates(config) * model.units * (width + model.units + 1) for width in _widths(config))
    return config.data.vocab_size * model.embedding_dim + recurrent + (directions * model.units + 1) * n_outputs


def useful_threads(config: TrialConfig, mean_length: float, most: int) -> int:
    """Returns how many threads a training step can use; one with too little to do costs more than it does.

    Args:
        config: the trial's settings.
        mean_length: steps T of a text, on average.
        most: threads that are available.
    """
    if most == 1:
        return 1
    worth = min(
        recurrence_seconds(config, mean_length) / _WORTH_A_THREAD_S, config.train.batch_size / _REVIEWS_A_THREAD
    )
    return max(1, min(most, int(worth)))


def recurrence_seconds(config: TrialConfig, mean_length: float) -> float:
    """Returns the seconds that one core takes for the recurrent layers of a training step, by the model alone."""
    model = config.model
    word_ns, unit_ns = _WORD_NS.get(model.cell, _LSTM_WORD_NS)
    a_word_ns = 0.0
    for width in _widths(config):
        table = width == model.embedding_dim and not model.dropout
        products = 6 * _gates(config) * model.units * (model.units + (width / 5 if table else width))
        a_word_ns += (
            products / _GFLOP_PER_S + word_ns + unit_ns * model.units + (0 if table else 3 * _DROPPED_NS * width)
        )
    return config.train.batch_size * mean_length * a_word_ns / 1e9


def update_seconds(config: TrialConfig) -> float:
    """Returns the seconds that one core takes for the rest of a training step: mostly the embedding's update."""
    return config.data.vocab_size * config.model.embedding_dim * _UPDATED_NS / 1e9 + _STEP_MS / 1e3


def memory_gb(config: TrialConfig, n_outputs: int, eval_batch_size: int) -> float:
    """Returns the private memory that a trial's process needs, at most: weights, the optimizer's, a batch's states."""
    model, train = config.model, config.train
    copies = (
        4 + OPTIMIZER_SLOTS[train.optimizer]
    )  # the weights, their gradient, what is saved, and what the optimizer keeps
    words = max(train.batch_size, eval_batch_size / 3) * config.data.maxlen  # measuring keeps no states
    a_word = sum(2 * width + (_gates(config) + 3) * model.units for width in _widths(config))
    return _PROCESS_GB + 4 * (copies * n_params(config, n_outputs) + words * a_word) / 2**30
