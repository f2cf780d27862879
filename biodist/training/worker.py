"""One rank's process: ``python -m biodist.training.worker --attempt DIR --rank R …``.

Started alike by the local launcher and by srun. Exit codes: 0 done, 3 failed, 73 failed where a full disk holds no
reason, 75 stopped and saved; a user's mistake that only the worker can see ends with its own code.
"""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, NoReturn

from biodist.errors import EXIT_FAILED, EXIT_NO_ROOM, BiodistError
from biodist.plan.plan import Plan
from biodist.run.folder import AttemptFolder
from biodist.run.records import Failure
from biodist.run.tether import tether
from biodist.training.placement import Placement
from biodist.training.shortage import is_out_of_memory
from biodist.training.stopping import StopFlag
from biodist.training.watchdog import Watchdog

FailureKind = Literal["error", "connection", "hang", "memory"]

# What gloo and NCCL say when another rank went away: a consequence, not a cause.
CONNECTION_WORDS = (
    "connection closed by peer",
    "connection reset by peer",
    "connection refused",
    "broken pipe",
    "timed out waiting",
    "socket timeout",
    "remote process exited",
    "nccl communicator was aborted",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one rank and gives its exit code."""
    placement = Placement.parse(sys.argv[1:] if arguments is None else arguments)
    tether(placement.parent)
    stop = StopFlag()
    stop.install()
    attempt = AttemptFolder(placement.attempt)
    plan = Plan.model_validate_json(attempt.plan.read_text(encoding="utf-8"))
    _quieten()

    def hung(doing: str) -> None:
        _record(attempt, placement.rank, "hang", doing, EXIT_FAILED)

    with Watchdog(plan.recipe.distributed.timeout_s, hung) as watchdog:
        try:
            return _run(placement, plan, stop, watchdog)
        except Exception as error:
            code = error.exit_code if isinstance(error, BiodistError) else EXIT_FAILED
            code = _record(attempt, placement.rank, _kind(error), _said(error), code)
            with suppress(OSError):  # the log may lie on a full disk
                if isinstance(error, BiodistError):
                    print(f"rank {placement.rank}: {error}", file=sys.stderr)  # noqa: T201
                else:
                    traceback.print_exc()
                sys.stderr.flush()
            # Without the farewells of the process group: a peer that is gone would be waited for.
            os._exit(code)


def _run(placement: Placement, plan: Plan, stop: StopFlag, watchdog: Watchdog) -> int:
    import torch
    from transformers.utils import logging

    from biodist.training.attempt import run_attempt
    from biodist.training.group import process_group

    logging.disable_progress_bar()
    torch.set_num_threads(plan.machine.threads_per_process)
    watchdog.beat("waiting for the other ranks")
    with process_group(plan, placement) as control:
        return run_attempt(placement, plan, control, stop, watchdog)


def _quieten() -> None:
    """The libraries' chatter stays out of the logs; their warnings of what we chose on purpose as well."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DEEPSPEED_LOG_LEVEL", "error")
    os.environ.setdefault("DS_LOG_LEVEL", "error")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP's advice against find_unused_parameters
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning)


def _kind(error: Exception) -> FailureKind:
    if isinstance(error, BiodistError):
        return "error"
    if is_out_of_memory(error):
        return "memory"
    said = str(error).lower()
    return "connection" if any(words in said for words in CONNECTION_WORDS) else "error"


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, BiodistError) else f"{type(error).__name__}: {error}"


def _record(attempt: AttemptFolder, rank: int, kind: FailureKind, message: str, exit_code: int) -> int:
    """Leaves the reason, and gives the code to end with: where the disk has no room for it, the code says so."""
    failure = Failure(rank=rank, time=time.time(), kind=kind, message=message, exit_code=exit_code)
    try:
        failure.save(attempt.failure(rank))
    except OSError as error:  # a full disk must not hide the failure itself
        with suppress(OSError):
            print(f"rank {rank}: {message} (not recorded: {error})", file=sys.stderr)  # noqa: T201
        return EXIT_NO_ROOM if error.errno in (errno.ENOSPC, errno.EDQUOT) else exit_code
    return exit_code


def end(code: int) -> NoReturn:
    """Ends the process at once. Threads that libraries leave behind can abort an interpreter that takes itself apart,
    and a rank that has done its work would be taken for a failed one."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    end(main())
