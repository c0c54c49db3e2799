"""Every example of a page runs, and prints the output that the page shows."""

import os
import re
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.documentation.pages import run_docstrings, run_page
from tests.servers.kafka import running_kafka
from tests.servers.nats import running_nats
from tests.servers.nginx import NGINX
from tests.servers.postgresql import server
from tests.servers.rabbitmq import HAS_RABBITMQ, HOW_TO_GET_IT, own_prefix
from tests.servers.sqs import running_sqs
from tests.servers.valkey import DURABLE, running_valkey

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)]
SOURCES = [
    path for path in sorted((ROOT / "src").rglob("*.py")) if re.search(r">>> |\.\. code-block:: python", path.read_text(encoding="utf-8"))
]
EXAMPLES = re.compile(r"(?m)^```(python|output|console)$")
FENCE = re.compile(r"(?m)^```([^\n{]+)$")
LANGUAGES = {"python", "output", "console", "sh", "json", "text", "toml"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_page_holds_what_it_shows(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    for folder, command in {"shop_service": "shop_service.run", "shop_django": "shop_django.manage"}.items():
        if command in text:  # a folder that the reader has copied
            shutil.copytree(ROOT / "docs" / "examples" / folder, tmp_path / folder)
    if '"nginx"' in text:
        if NGINX is None:
            pytest.skip("apt-get install nginx-light")
        monkeypatch.setenv("PATH", f"{os.environ['PATH']}{os.pathsep}{Path(NGINX).parent}")
    with ExitStack() as servers:
        if "REDIS_URL" in text:
            monkeypatch.setenv("REDIS_URL", servers.enter_context(running_valkey(DURABLE)).url)
        if "NATS_URL" in text:
            monkeypatch.setenv("NATS_URL", servers.enter_context(running_nats()).url)
        if "RABBITMQ_URL" in text:
            if not HAS_RABBITMQ:
                pytest.skip(HOW_TO_GET_IT)
            monkeypatch.setenv("RABBITMQ_URL", servers.enter_context(own_prefix()))
        if "KAFKA_URL" in text:
            monkeypatch.setenv("KAFKA_URL", f"{servers.enter_context(running_kafka()).url}?lease=6")
        if "SQS_URL" in text:
            monkeypatch.setenv("SQS_URL", servers.enter_context(running_sqs()).url)
        if "DATABASE_URL" in text:
            monkeypatch.setenv("DATABASE_URL", servers.enter_context(server()).url)
        assert run_page(page) == len(EXAMPLES.findall(text))


def test_docstrings_hold_what_they_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [name(source) for source in SOURCES if run_docstrings(source) == 0] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_says_what_it_is(page: Path) -> None:
    assert set(FENCE.findall(page.read_text(encoding="utf-8"))) <= LANGUAGES


def test_links_of_the_readme_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert [target for target in targets if not (ROOT / target).is_file()] == []
