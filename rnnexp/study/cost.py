"""What a trial costs, before it is begun: seconds and memory, by a model of what it computes.

The constants were fitted to the steps of 36 settings on one core of a two-core server (each
cell, units 16 to 128, embedding 16 and 128, dropout or none, batch 128; the model was within 0.86 to 1.12 of each); the
forecast corrects them by a home's own trials.
"""

from rnnexp.config.sweep import SweepConfig
from rnnexp.config.trial import TrialConfig
from rnnexp.data.store import TokenStore

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
_FORWARD_SHARE = 0.24
_START_S = 0.9
_PROCESS_GB = 0.45
OPTIMIZER_SLOTS = {"rmsprop": 1, "adam": 2, "adamw": 2, "sgd": 0}
"""Copies of the weights that an optimizer keeps."""
_EVAL_BATCH = 256


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


def seconds(config: TrialConfig, store: TokenStore) -> float:
    """Returns the seconds that a trial takes on one core, by the model alone."""
    split, model, data = store.split(config.data), config.model, config.data
    mean_length = float(data.maxlen if data.padding == "fixed" else store.lengths(split.train, data.maxlen).mean())
    word_ns, unit_ns = _WORD_NS.get(model.cell, _LSTM_WORD_NS)
    a_word_ns = 0.0
    for width in _widths(config):
        table = width == model.embedding_dim and not model.dropout
        products = 6 * _gates(config) * model.units * (model.units + (width / 5 if table else width))
        a_word_ns += (
            products / _GFLOP_PER_S + word_ns + unit_ns * model.units + (0 if table else 3 * _DROPPED_NS * width)
        )
    n_words = config.train.batch_size * mean_length
    step_s = n_words * a_word_ns / 1e9
    update_s = data.vocab_size * model.embedding_dim * _UPDATED_NS / 1e9 + _STEP_MS / 1e3
    n_steps, n_measured = (len(rows) / config.train.batch_size for rows in (split.train, split.validation))
    return _START_S + config.train.epochs * (n_steps * (step_s + update_s) + _FORWARD_SHARE * n_measured * step_s)


def memory_gb(config: TrialConfig, n_outputs: int) -> float:
    """Returns the private memory that a trial's process needs, at most: weights, the optimizer's, a batch's states."""
    model, train = config.model, config.train
    copies = (
        4 + OPTIMIZER_SLOTS[train.optimizer]
    )  # the weights, their gradient, what is saved, and what the optimizer keeps
    words = max(train.batch_size, _EVAL_BATCH / 3) * config.data.maxlen  # measuring keeps no states
    a_word = sum(2 * width + (_gates(config) + 3) * model.units for width in _widths(config))
    return _PROCESS_GB + 4 * (copies * n_params(config, n_outputs) + words * a_word) / 2**30


def most_memory_gb(config: SweepConfig, n_outputs: int) -> float:
    """Returns the memory of the largest trial that the space allows."""
    largest = config.base
    for name, setting in config.space.items():
        found = [largest]
        for value in setting.extremes():
            try:
                found.append(largest.with_settings({name: value}))
            except ValueError:  # has no meaning beside the others; it changes no size
                continue
        largest = max(found, key=lambda each: memory_gb(each, n_outputs))
    return memory_gb(largest, n_outputs)
