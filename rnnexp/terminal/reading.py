"""Shows in a terminal how much of a file has been read."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

_SHOWN_AFTER_S = 1.0


@contextmanager
def progress_bar(console: Console, title: str) -> Iterator[Callable[[float], None]]:
    """Yields a function that receives the share that is done, 0 to 1; a bar shows it if the work takes a second.

    The bar disappears at the end. If the console is no terminal, there is none.
    """
    started_at = time.monotonic()
    bar = Progress(console=console, transient=True, auto_refresh=False, disable=not console.is_terminal)
    task = bar.add_task(escape(title), total=1.0)

    def show(share: float) -> None:
        if not bar.live.is_started and time.monotonic() - started_at > _SHOWN_AFTER_S:
            bar.start()
        bar.update(task, completed=share, refresh=True)

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()
