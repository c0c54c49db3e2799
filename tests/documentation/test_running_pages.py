"""The runner of pages itself: a wrong example fails the test."""

from pathlib import Path

import pytest

from tests.documentation.pages import run_page


def page(folder: Path, *blocks: str) -> Path:
    path = folder / "page.md"
    path.write_text("\n\n".join(blocks), encoding="utf-8")
    return path


def test_what_is_printed_is_compared(tmp_path: Path) -> None:
    block = "```python\nprint('two')\nprint('three')\n```"
    assert run_page(page(tmp_path, block, "```output\ntwo\nthree\n```")) == 2
    assert run_page(page(tmp_path, block, "```output\n...\nthree\n```")) == 2
    assert run_page(page(tmp_path, block, "```output\nt…\nth…e\n```")) == 2
    with pytest.raises(AssertionError, match=r"page\.md:6"):
        run_page(page(tmp_path, block, "```output\ntwo\n```"))


def test_names_live_from_block_to_block(tmp_path: Path) -> None:
    assert run_page(page(tmp_path, "```python\nleft = 2\n```", "```python\nprint(left + 1)\n```", "```output\n3\n```")) == 3


def test_a_block_that_raises_is_red(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run_page(page(tmp_path, "```python\n1 / 0\n```"))


def test_a_session_is_run_by_a_shell(tmp_path: Path) -> None:
    assert run_page(page(tmp_path, "```console\n$ echo one \\\n  two\none two\n$ echo three\nthree\n```")) == 1
    with pytest.raises(AssertionError, match="four"):
        run_page(page(tmp_path, "```console\n$ echo three\nfour\n```"))


def test_what_is_for_the_reader_alone_is_left_alone(tmp_path: Path) -> None:
    assert run_page(page(tmp_path, "```sh\nexit 1\n```", "```json\n{}\n```")) == 0


def test_a_block_that_names_a_file_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = "```python\n# rack.py\nprint(7)\n```", "```console\n$ python rack.py\n7\n```"
    assert run_page(page(tmp_path, *blocks)) == 2
