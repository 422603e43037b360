"""The description of a trial's data, which its `Started` event records."""

import hashlib
from typing import Any

from rnnexp.config.trial import TrialConfig
from rnnexp.data.splits import Split
from rnnexp.data.store import TokenStore


def describe(store: TokenStore, split: Split, config: TrialConfig) -> dict[str, Any]:
    """Returns the description of the data in a run; two runs with the same digests used the same rows."""
    return {
        "name": store.name,
        "digest": store.digest,
        "split": split.digest,
        "validation": hashlib.sha256(split.validation.astype("<i8").tobytes()).hexdigest()[:16],
        "labels": list(store.labels),
        "n_train": len(split.train),
        "n_validation": len(split.validation),
        "n_test": store.n_test,
        "source": config.data.path or config.data.name,
    }
