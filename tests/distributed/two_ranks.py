"""Two gloo processes on this machine that run functions of the tests, each as its rank."""

import queue
import socket
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed, multiprocessing

T = TypeVar("T")
PATIENCE = 90
"""Seconds for one function; a collective that the other rank never joins gives up earlier."""


class TwoRanks:
    """Call it with a module-level function and its arguments: what it returns on rank 0 and on rank 1."""

    def __init__(self) -> None:
        self._start()

    def __call__(self, function: Callable[..., T], *args: Any) -> tuple[T, T]:
        for tasks in self._tasks:
            tasks.put((function, args))
        outcomes: dict[int, tuple[bool, Any]] = {}
        while len(outcomes) < len(self._tasks):
            try:
                rank, succeeded, outcome = self._outcomes.get(timeout=PATIENCE)
            except queue.Empty:
                self._restart()
                raise AssertionError(
                    f"{function.__name__}: ranks {sorted(outcomes)} came back only"
                ) from None
            outcomes[rank] = succeeded, outcome
        errors = [
            f"rank {rank}: {outcome}" for rank, (succeeded, outcome) in outcomes.items() if not succeeded
        ]
        if errors:
            # Their collectives may be out of step now.
            self._restart()
            raise AssertionError("\n".join(errors))
        return outcomes[0][1], outcomes[1][1]

    def close(self) -> None:
        """End the two processes."""
        for tasks in self._tasks:
            tasks.put(None)
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()

    def _restart(self) -> None:
        for process in self._processes:
            process.kill()
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._outcomes = context.Queue()
        self._tasks = [context.Queue() for _ in range(2)]
        self._processes = [
            context.Process(target=serve, args=(rank, port, tasks, self._outcomes), daemon=True)
            for rank, tasks in enumerate(self._tasks)
        ]
        for process in self._processes:
            process.start()


def serve(rank: int, port: int, tasks: Any, outcomes: Any) -> None:
    """Run what comes in as rank `rank`; None ends it."""
    torch.set_num_threads(1)
    # As in fxbin.train.processes: imported later, it would keep the group's threads to the end.
    from torch.distributed.nn import functional  # noqa: F401

    distributed.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=PATIENCE // 2),
    )
    while (task := tasks.get()) is not None:
        function, args = task
        torch.manual_seed(0)
        try:
            outcomes.put((rank, True, function(*args)))
        except Exception:  # noqa: BLE001 (the test shows it)
            outcomes.put((rank, False, traceback.format_exc()))
    distributed.destroy_process_group()
