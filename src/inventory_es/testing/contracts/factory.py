"""Contracts by address: the argument of the command line."""

from importlib import import_module

from inventory_es.testing.contracts.core.contract import Contract
from inventory_es.testing.loading import load


def contract_at(address: str, *, backend: str = "asyncio") -> Contract:
    """Return the contract that an address names: a contract class, or a factory of adapters.

    A factory takes a site, and a cache's factory also ``clock=``. It returns an adapter, an async context manager of one, or an awaitable
    of either. The kit opens it once to see which port it serves.

    Args:
        address: ``package.module:Name`` or ``path/to/file.py:Name``.
        backend: the event loop on which the factory is opened for that.

    Raises:
        ValueError: the address names nothing, or nothing of this kind.
    """
    found = load(address)
    if isinstance(found, type) and issubclass(found, Contract):
        return found()
    if not callable(found):
        msg = f"{address} is neither a contract class nor a factory that takes a site"
        raise ValueError(msg)  # noqa: TRY004  # the address is what is wrong, not a type in the caller's code
    # Imported late: the contracts of all ports take 150 ms, and the other processes of a case mostly need one of them.
    contract: Contract = import_module("inventory_es.testing.contracts.factory_contract").contract_of(address, found, backend=backend)
    return contract
