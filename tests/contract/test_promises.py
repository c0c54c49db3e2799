"""The page of promises says what the contracts find."""

from tests.contract.promises import PAGE, page


def test_the_page_in_the_docs_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.contract.promises"
