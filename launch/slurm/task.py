"""What runs in every srun task: a launcher of one rank. Rank 0's leads: it opens the attempt and judges its end."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from biodist.config.core import refuse_other_core
from biodist.config.profile import Profile
from biodist.config.writing import recipe_yaml
from biodist.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_MACHINE,
    EXIT_STOPPED,
    EXIT_USER,
    BiodistError,
    MachineCannot,
    RunFailed,
)
from biodist.plan.plan import read_plan, write_plan
from biodist.run.durable import write_text
from biodist.run.folder import AttemptFolder, JobFolder
from biodist.run.lease import Lease, Replaced
from biodist.run.provenance import provenance
from biodist.run.records import AttemptRecord, Failure, is_finished
from launch.attempt_record import begin_record, end_record, remove_unfinished
from launch.environment import worker_environment
from launch.local import Outcome, first_failure_report, keep_record, worker_command
from launch.micro_batch import can_shrink, carried_on, out_of_memory_advice
from launch.progress import RunProgress
from launch.ranks import Command, Ranks
from launch.rendezvous import rendezvous
from launch.requests import StopRequests
from launch.slurm.comeback import Comeback, claimed
from launch.slurm.grace import grace_notice
from launch.slurm.life import Call, Life, await_call, is_listed
from launch.slurm.network import Meeting, first_port, interface_towards, meeting_between_nodes, own_address, reach
from launch.slurm.peers import Peers
from launch.slurm.scheduler import Scheduler
from launch.watching import Patience, Watching

_CALL_PATIENCE_S = 300.0  # for the leader to find its lease free and open the attempt
_LEASE_PATIENCE_S = 90.0  # a holder that is gone lets go after 60 s without a heartbeat
_LEADER_PATIENCE_S = 45.0  # for the leader to judge the end, once this task's rank has ended
_PATIENCE = Patience(others_s=10.0, stacks_s=3.0)
_LEADER_S = 6.0  # longer than the others: what they end, they say before the leader judges


Publishing = Callable[[], AbstractContextManager[object]]
KeepFailure = Callable[[Publishing], None]


class Task:
    """One srun task in one life of a job."""

    def __init__(self, job: JobFolder, life: Life, environment: Mapping[str, str], again: Callable[[], int]):
        """`again` is what a job that takes this one's place runs."""
        self.job = job
        self.life = life
        self.environment = environment
        self.again = again
        self.plan = read_plan(job.plan)
        self.console = Console(file=sys.stderr, highlight=False)

    @property
    def profile(self) -> Profile:
        if self.plan.profile is None:
            raise MachineCannot(f"{self.job.plan}: a plan for one machine, not for a cluster")
        return self.plan.profile

    def run(self, keep_failure: KeepFailure) -> int:
        """Lives to the end and gives the exit code.

        `keep_failure` is called once a failed attempt has been judged, with what to enter to write to the run.
        """
        if self.life.world_size != self.plan.machine.world_size:
            raise MachineCannot(
                f"{self.life.name} has {self.life.world_size} tasks, but its plan is for "
                f"{self.plan.machine.world_size}; submit again"
            )
        with StopRequests() as requests:
            return self._lead(requests, keep_failure) if self.life.leads else self._follow(requests)

    def say(self, line: str) -> None:
        """A line in the job's log."""
        self.console.print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}", markup=False, soft_wrap=True)

    # ---- rank 0

    def _lead(self, requests: StopRequests, keep_failure: KeepFailure) -> int:
        call = self.job.call(self.life.job_id, self.life.restart)
        call.parent.mkdir(exist_ok=True)
        try:
            if is_finished(self.job.run):
                self.say(f"the run in {self.job.run.root} is finished: nothing to do")
                Call(exit_code=EXIT_DONE, why="finished").save(call)
                return EXIT_DONE
            if self.job.cancelled.exists():
                self.say("cancelled by `biodist cancel` before it began: nothing to do")
                Call(exit_code=EXIT_STOPPED, why="cancelled").save(call)
                return EXIT_STOPPED
            with self._lease() as lease:
                outcome = self._open(lease, requests, keep_failure)
        except Replaced:
            claimed(self.job, self.life)  # another process has the run: this job is not to come back to it
            raise
        except OSError as error:
            failed = RunFailed(f"{self.life.node}: {error.filename or 'the run could not be begun'}: {error.strerror}")
            self._call_off(call, failed)
            raise failed from None
        except BiodistError as error:
            self._call_off(call, error)
            raise
        if outcome.failure is not None:
            self.say(first_failure_report(outcome))
            last = self.job.run.attempts()[-1]
            if not can_shrink(last) and (advice := out_of_memory_advice(last)):
                self.say(advice)
        if outcome.exit_code == EXIT_STOPPED:
            for notice in grace_notice(self.job.run, self.profile):
                self.say(f"note: {notice}")
        if claimed(self.job, self.life):
            lost = outcome.failure is not None and outcome.failure.cause.kind == "silent"
            self._comeback.bring_back(outcome.exit_code, lost)
        return outcome.exit_code

    def _call_off(self, call: Path, error: BiodistError) -> None:
        """The others need not wait for what does not come."""
        with suppress(OSError):
            if not call.exists():
                Call(exit_code=error.exit_code, why=str(error)).save(call)

    def _lease(self) -> Lease:
        """Another life of this job is known to be over; any other holder is waited for."""
        life = self.life
        return Lease.acquire(
            self.job.run, job=life.job_id, restart=life.restart, wait_s=_LEASE_PATIENCE_S, say=self.say
        )

    def _open(self, lease: Lease, requests: StopRequests, keep_failure: KeepFailure) -> Outcome:
        """Opens the attempt, calls the others and lives it."""
        run = self.job.run
        refuse_other_core(run, self.plan.recipe)
        plan = carried_on(self.plan, run)
        versions = provenance({"data": plan.data.fingerprint})
        with lease.fence().hold():
            write_text(run.recipe, recipe_yaml(plan.recipe))
            versions.save(run.provenance)
            attempt = run.new_attempt()
            write_plan(plan, attempt.plan)
        fence = lease.fence(attempt)
        self.say(
            f"{self.life.name} on {', '.join(self.life.nodes)}: attempt {attempt.number} of {run.root}, "
            f"{plan.machine.world_size} processes ({plan.machine.device}, {plan.strategy})"
        )
        for notice in (*plan.notices, *grace_notice(run, self.profile)):
            self.say(f"note: {notice}")
        started = time.monotonic()
        begin_record(attempt, plan, job=self.life.job_id, restart=self.life.restart, nodes=self.life.nodes)
        code, failure, asked = EXIT_FAILED, None, None
        try:
            with self._meeting(attempt) as meeting:
                call = Call(attempt=attempt.number, rendezvous=meeting.address, probe=meeting.probe, lease=lease.token)
                call.save(self.job.call(self.life.job_id, self.life.restart))
                with RunProgress(attempt, plan, self.console) as progress:

                    def watch() -> None:
                        if lease.lost.is_set():
                            fence.check()
                        progress.watch()

                    with self._watching(attempt, call, requests, watch, meeting.listening) as following:
                        code, failure = following.follow()
                        asked = following.asked
        except Replaced:
            remove_unfinished(attempt)
            raise
        finally:
            keep_record(attempt, code, failure, self.say, asked)
        if failure is not None:
            keep_failure(fence.hold)
        return Outcome(code, failure, time.monotonic() - started)

    @contextmanager
    def _meeting(self, attempt: AttemptFolder) -> Iterator[Meeting]:
        """Where the ranks meet, and where the leader answers other nodes: a file on one node, a port between nodes."""
        if len(self.life.nodes) == 1:
            with rendezvous(attempt) as address:
                yield Meeting(address)
            return
        host = own_address(self.profile.network_interface)
        first, last = self.profile.rendezvous_ports
        ports = range(first, last + 1)
        with meeting_between_nodes(host, ports, first_port(self.life.job_id, self.life.restart, ports)) as meeting:
            yield meeting

    # ---- every other rank

    def _follow(self, requests: StopRequests) -> int:
        call = await_call(self.job, self.life, _CALL_PATIENCE_S)
        if call.exit_code is not None or call.attempt is None:
            return EXIT_DONE if call.exit_code is None else call.exit_code
        attempt = next(found for found in self.job.run.attempts() if found.number == call.attempt)
        try:
            if call.probe:
                reach(call.probe, self.life.node, self.life.nodes[0])
        except MachineCannot as error:
            failure = Failure(
                rank=self.life.rank, time=time.time(), kind="error", message=str(error), exit_code=error.exit_code
            )
            failure.save(attempt.failure(self.life.rank))
            raise
        with self._watching(attempt, call, requests, lambda: None) as following:
            code, _ = following.follow()
        self._stand_in(code)
        return code

    def _stand_in(self, code: int) -> None:
        """Brings the job back when the leader is gone. The lowest task that is left comes first."""
        claim = self.job.claim(self.life.job_id, self.life.restart)
        until = time.monotonic() + _LEADER_PATIENCE_S + 2 * self.life.rank
        while code in (EXIT_STOPPED, EXIT_FAILED) and time.monotonic() < until:
            if is_listed(claim):
                return
            time.sleep(0.5)
        if code in (EXIT_STOPPED, EXIT_FAILED) and claimed(self.job, self.life):
            self.say(f"rank 0's task is gone; rank {self.life.rank}'s stands in for it")
            elsewhere = self.life.node != self.life.nodes[0]
            self._close_record(code)
            self._comeback.bring_back(code, lost_node=elsewhere)

    # ---- the batch script, once srun has ended

    def after(self, code: int) -> int:
        """Brings back a job that no task could bring back: srun could not start them, or all of them are gone."""
        if code != EXIT_DONE and claimed(self.job, self.life):
            self._close_record(EXIT_FAILED)
            self._comeback.bring_back(code if code in (EXIT_USER, EXIT_MACHINE) else EXIT_FAILED)
        return code

    def _close_record(self, code: int) -> None:
        """What a leader that is gone could not write: how the attempt of this life ended."""
        for attempt in self.job.run.attempts()[-1:]:
            with suppress(OSError, BiodistError):
                record = AttemptRecord.load(attempt.record)
                if (record.outcome, record.job, record.restart) == ("running", self.life.job_id, self.life.restart):
                    end_record(attempt, "stopped" if code == EXIT_STOPPED else "failed", None)

    # ---- both

    @property
    def _comeback(self) -> Comeback:
        return Comeback(self.job, self.life, self.profile, self.say, self.again)

    @contextmanager
    def _watching(
        self,
        attempt: AttemptFolder,
        call: Call,
        requests: StopRequests,
        watch: Callable[[], None],
        listening: socket.socket | None = None,
    ) -> Iterator[Watching]:
        """`listening`: what the rank takes over, and alone has from then on."""
        life = self.life
        argv = worker_command(attempt, self.plan, life.rank, call.rendezvous, call.lease, life.local_rank)
        keeps = () if listening is None else (listening.fileno(),)
        argv += [word for number in keeps for word in ("--listening", str(number))]
        command = Command(life.rank, argv, attempt.log(life.rank), keeps)
        with Ranks([command], self._worker_environment(call)) as own:
            if listening is not None:
                listening.close()
            peers = Peers(own, attempt, life)
            patience = replace(_PATIENCE, others_s=_PATIENCE.others_s + _LEADER_S) if life.leads else _PATIENCE
            yield Watching(attempt, peers, requests, watch, self.say, patience, self._asked_again)
            peers.leave()

    def _asked_again(self, number: signal.Signals) -> None:
        """Slurm ends the job while it still saves: at its time limit nobody would bring it back afterwards."""
        if number != signal.SIGTERM or not self.life.leads:
            return
        with suppress(BiodistError):
            state = Scheduler().job(self.life.job_id)
            limit = state is not None and state.is_ending and state.time_left_s == 0
            if limit and claimed(self.job, self.life):
                self.say("the time limit is reached before all is saved: it goes on from the last checkpoint")
                self._comeback.bring_back(EXIT_STOPPED)

    def _worker_environment(self, call: Call) -> dict[str, str]:
        interface = self.profile.network_interface
        if interface is None and call.probe:
            interface = interface_towards(call.probe.rpartition(":")[0])
        made = worker_environment(self.environment, self.plan.machine, interface)
        return made | self._compile_caches() | self.profile.environment

    def _compile_caches(self) -> dict[str, str]:
        """A home folder over a network is slow to compile in, and its locks may not hold."""
        if self.profile.scratch_folder is None:
            return {}
        user = self.environment.get("USER", str(os.getuid()))
        scratch = self.profile.scratch_folder.replace("{job}", self.life.job_id).replace("{user}", user)
        return {"TORCH_EXTENSIONS_DIR": f"{scratch}/torch_extensions", "TRITON_CACHE_DIR": f"{scratch}/triton"}
