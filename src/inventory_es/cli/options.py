"""Options that several commands have."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import click

from inventory_es.wiring import open_inventory

F = TypeVar("F", bound=Callable[..., Any])


class Option(Protocol):
    """What gives a command an option."""

    def __call__(self, function: F, /) -> F:
        """The command with it."""
        ...


class StoreUrl(click.ParamType[str]):
    """The URL of a store, checked before anything is opened."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The URL as given.

        Raises:
            click.BadParameter: no store can have it.
        """
        try:
            open_inventory(value)
        except (ValueError, TypeError) as problem:
            self.fail(str(problem), param, ctx)
        return str(value)


class FolderUrl(StoreUrl):
    """The URL of a file store; gives its folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The folder's path.

        Raises:
            click.BadParameter: it is another store's.
        """
        scheme, _, place = super().convert(value, param, ctx).partition(":")
        if scheme != "file":
            self.fail("this command is for a store in a folder: file:DIR", param, ctx)
        return place


url_option: Option = click.option(
    "--url", type=StoreUrl(), required=True, envvar="INVENTORY_ES_URL", show_envvar=True, help="The store, such as file:stock."
)
folder_option: Option = click.option(
    "--url", "folder", type=FolderUrl(), required=True, envvar="INVENTORY_ES_URL", show_envvar=True, help="The store, such as file:stock."
)
json_option: Option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs instead of text for people.")


def inventory_arguments(function: F) -> F:
    """The arguments PRODUCT and STORE."""
    return click.argument("product", metavar="PRODUCT")(click.argument("store", metavar="STORE")(function))
