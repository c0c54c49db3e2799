"""Our contender's process: ``python -m benchmarks.engine {memory,file,sqlite,postgresql} {asyncio,trio,threads}``."""

import argparse
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio

from benchmarks.contender_process import Task, serve
from benchmarks.engine import threads
from benchmarks.engine.codec import codec
from benchmarks.engine.commands import commands
from benchmarks.engine.growth import growth
from benchmarks.engine.hot import hot
from benchmarks.engine.log import Logs
from benchmarks.engine.profile import profile
from benchmarks.engine.queries import queries
from benchmarks.engine.snapshots import snapshots
from benchmarks.measure import Measures
from benchmarks.sizes import Sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", choices=["memory", "file", "sqlite", "postgresql"])
    parser.add_argument("backend", choices=["asyncio", "trio", "threads"])
    options = parser.parse_args()
    if options.backend == "threads":
        serve({name: partial(work, options.store) for name, work in (("commands", threads.commands), ("hot", threads.hot))})
        return
    logs = Logs(options.store)

    def of_store(work: Callable[[str, Path, Sizes], Awaitable[Measures]]) -> Task:
        return lambda folder, sizes: anyio.run(work, options.store, folder, sizes, backend=options.backend)

    def of_folder(work: Callable[[Path, Sizes], Awaitable[Measures]]) -> Task:
        return lambda folder, sizes: anyio.run(work, folder, sizes, backend=options.backend)

    serve(
        {
            "commands": of_store(commands),
            "hot": of_store(hot),
            "growth": of_store(growth),
            "snapshots": of_store(snapshots),
            "queries": of_folder(queries),
            "prepare_log": of_folder(logs.prepare),
            "log": of_folder(logs.read),
            "codec": codec,
            "profile": lambda folder, sizes: profile(options.store, options.backend, folder, sizes),
        }
    )


if __name__ == "__main__":
    main()
