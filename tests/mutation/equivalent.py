"""Mutants that no test can kill. They are counted separately, each with its reason."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

_LIST = Path(__file__).with_name("equivalent.toml")


def reasons() -> Mapping[str, str]:
    """Return why each mutant makes no difference, by the name of the mutant."""
    told = tomllib.loads(_LIST.read_text(encoding="utf-8"))
    return {mutant: group["why"] for group in told["same"] for mutant in group["mutants"]}
