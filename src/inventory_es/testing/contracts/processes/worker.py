"""The worker process of the cases: ``python -m inventory_es.testing.contracts.processes.worker ADDRESS JSON``.

The worker opens the contract's store on the given site, prints ``{"ready": true}`` and waits for a line. Then it writes, and prints each
step on a line of its own, as it happens. It may be killed at any moment.
"""

import json
import sys
from pathlib import Path
from typing import Any

import anyio

from inventory_es.testing.contracts.core.contract import Contract
from inventory_es.testing.contracts.event_store import EventStoreContract
from inventory_es.testing.contracts.event_store.writer import write_rounds
from inventory_es.testing.contracts.factory import contract_at
from inventory_es.testing.contracts.processes.other_process import Step
from inventory_es.testing.site import Site


def main(arguments: list[str]) -> None:
    """Run the worker."""
    address, task = arguments[0], json.loads(arguments[1])
    anyio.run(_work, contract_at(address), task, backend=task["backend"])


async def _work(contract: Contract, task: dict[str, Any]) -> None:
    if not isinstance(contract, EventStoreContract):
        msg = f"{contract.address} is no contract of an event store"
        raise TypeError(msg)
    site = Site(task["site"], Path(task["path"]))
    async with contract.open_store(site) as store:
        _tell({"ready": True})
        await anyio.to_thread.run_sync(sys.stdin.readline)
        await write_rounds(store, task["writer"], task["rounds"], _tell, size=task["size"])
    _tell({"done": True})


def _tell(step: Step) -> None:
    sys.stdout.write(json.dumps(step) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
