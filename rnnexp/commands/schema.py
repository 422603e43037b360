"""`rnnexp schema`: the JSON Schema of sweep files."""

import argparse
import json

from rnnexp.config.sweep import json_schema


def run(args: argparse.Namespace) -> int:
    """Prints the schema."""
    print(json.dumps(json_schema(), indent=1))
    return 0
