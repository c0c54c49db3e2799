"""Types are a feature: what they accept, infer and refuse is written down beside this file, and mypy holds it."""

from pathlib import Path

import pytest
from mypy import api

HERE = Path(__file__).parent
CONFIGURATION = HERE.parents[1] / "pyproject.toml"
WRITTEN_DOWN = sorted(path for path in HERE.glob("*.py") if not path.name.startswith("test_"))


def check(*paths: Path, cache: Path) -> tuple[str, int]:
    report, problems, status = api.run(["--config-file", str(CONFIGURATION), "--cache-dir", str(cache), *map(str, paths)])
    return report + problems, status


def test_types_are_what_is_written_down(tmp_path_factory: pytest.TempPathFactory) -> None:
    report, status = check(*WRITTEN_DOWN, cache=tmp_path_factory.getbasetemp() / "mypy")
    assert status == 0, report


def test_a_wrong_expectation_is_found(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from typing import assert_type\n"
        "from inventory_es.ports import AppendResult\n"
        "assert_type(AppendResult(1, {}).position, str)\n"
        "AppendResult(1, {})  # type: ignore[arg-type]\n"
    )
    report, status = check(wrong, cache=tmp_path_factory.getbasetemp() / "mypy")
    assert status == 1
    assert "[assert-type]" in report
    assert "[unused-ignore]" in report
