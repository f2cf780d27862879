"""What is written into the state folder before a daemon starts: slurm.conf, gres.conf, the submit plugin, the key."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from development.refusal import Refusal

NODES = ("n1", "n2", "n3", "n4")
GPUS = 2  # of a node
CLUSTER = "devcluster"
ROOT = Path("/var/lib/biodist-devcluster")
FIRST_PORT = 26817  # slurmctld's; the nodes have the next ones
LONGEST_ROOT = 60  # characters: the sockets below it must fit into the 108 of a Unix address
DAEMONS = ("munged", "slurmctld", "slurmd")


@dataclass(frozen=True)
class StateFolder:
    """Every path of the cluster, and the command line of each of its daemons."""

    root: Path

    @property
    def slurm_conf(self) -> Path:
        return self.root / "slurm.conf"

    @property
    def munge_socket(self) -> Path:
        return self.root / "run" / "munge.socket"

    @property
    def munge_key(self) -> Path:
        return self.root / "secret" / "munge.key"

    @property
    def with_user_signal(self) -> bool:
        """Whether the cluster was made with --user-signal."""
        return "preempt_send_user_signal" in self.slurm_conf.read_text()

    def spool(self, node: str) -> Path:
        return self.root / "spool" / node

    def log(self, daemon: str) -> Path:
        return self.root / "logs" / f"{daemon}.log"

    def devices(self) -> list[Path]:
        return [self.root / "dev" / f"gpu{number}" for number in range(GPUS)]

    def munged(self) -> tuple[str, ...]:
        paths = {
            "socket": self.munge_socket,
            "key-file": self.munge_key,
            "pid-file": self.root / "run" / "munged.pid",
            "log-file": self.log("munged"),
            "seed-file": self.root / "secret" / "munge.seed",
        }
        return (program("munged"), "--foreground", *(f"--{option}={path}" for option, path in paths.items()))

    def slurmctld(self) -> tuple[str, ...]:
        return (program("slurmctld"), "-D", "-f", str(self.slurm_conf))

    def slurmd(self, node: str) -> tuple[str, ...]:
        return (program("slurmd"), "-D", "-N", node, "-f", str(self.slurm_conf))

    def daemons(self) -> dict[str, tuple[str, ...]]:
        """Command lines by name (`munged`, `slurmctld`, and the nodes), in the order of their start."""
        return {"munged": self.munged(), "slurmctld": self.slurmctld()} | {node: self.slurmd(node) for node in NODES}

    def write(self, user_signal: bool, first_port: int) -> None:
        """Makes the folder and all that the daemons read; it must not exist."""
        self.root.mkdir(parents=True, mode=0o755)
        for name in ("run", "spool", "dev"):
            (self.root / name).mkdir(mode=0o755)
        for name in ("secret", "state", "logs"):
            (self.root / name).mkdir(mode=0o700)
        for node in NODES:
            self.spool(node).mkdir(mode=0o755)
        for device in self.devices():
            os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # another /dev/null: a GPU that Slurm can count
        with os.fdopen(os.open(self.munge_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as key:
            key.write(secrets.token_bytes(1024))
        (self.root / "gres.conf").write_text(
            f"AutoDetect=off\nNodeName={','.join(NODES)} Name=gpu File={','.join(map(str, self.devices()))}\n"
        )
        (self.root / "job_submit.lua").write_text(JOB_SUBMIT)
        self.slurm_conf.write_text(self._slurm_conf(user_signal, ports(first_port)))

    def _slurm_conf(self, user_signal: bool, used: range) -> str:
        host, address = host_and_address()
        text = SLURM_CONF.format(
            cluster=CLUSTER,
            host=host,
            address=address,
            port=used[0],
            root=self.root,
            socket=self.munge_socket,
            first_job=int(time.time()) % 10_000_000,
            parameters="SlurmctldParameters=preempt_send_user_signal" if user_signal else "",
        )
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr={address} Port={port} CPUs=2 RealMemory=16000 "
            f"Gres=gpu:{GPUS}"
            for node, port in zip(NODES, used[1:], strict=True)
        ]
        return text + "\n".join(nodes) + "\n" + PARTITIONS


def program(name: str) -> str:
    """The path of a daemon; /usr/sbin counts even where PATH lacks it."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin") or f"/usr/sbin/{name}"


def ports(first: int) -> range:
    """Of slurmctld, then of the nodes in their order."""
    return range(first, first + 1 + len(NODES))


def host_and_address() -> tuple[str, str]:
    """This machine's short name and the address it has by that name: the only one the daemons listen on."""
    host = socket.gethostname().partition(".")[0]
    try:
        return host, socket.gethostbyname(host)
    except OSError:
        raise Refusal(
            f"this machine's own name, {host}, has no address: add '127.0.0.1 {host}' to /etc/hosts"
        ) from None


# cred_expire: a requeued job is held for that many seconds (120 by default) before it may start again.
# MinJobAge: a finished job stays in `scontrol show job` for five minutes; there is no accounting.
# config_overrides: nodes may say that they have more CPUs and memory than this machine.
# FirstJobId: jobs of another cluster, made later in the same state folder, do not get the numbers of this one's.
SLURM_CONF = """\
ClusterName={cluster}
SlurmctldHost={host}({address})
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={socket},cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
{parameters}
SlurmdParameters=config_overrides
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd-%n.pid
SlurmctldDebug=verbose
SlurmdDebug=verbose
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobSubmitPlugins=lua
JobRequeue=1
FirstJobId={first_job}
MinJobAge=300
EnforcePartLimits=ALL
OverTimeLimit=0
KillWait=15
SlurmctldTimeout=15
SlurmdTimeout=15
MessageTimeout=20
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1000
GresTypes=gpu
"""

PARTITIONS = """\
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=30 DefaultTime=10 MaxTime=60
PartitionName=norequeue Nodes=ALL PriorityTier=1 PreemptMode=CANCEL GraceTime=30 DefaultTime=10 MaxTime=60
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF DefaultTime=10 MaxTime=60
"""

# Slurm forbids requeueing for a job or for all, not for a partition: sites do it with a plugin, and so does this one.
# It overrules `sbatch --requeue` and `scontrol update Requeue=1`.
JOB_SUBMIT = """\
function slurm_job_submit(job, partitions, user)
  if job.partition == "norequeue" then job.requeue = 0 end
  return slurm.SUCCESS
end

function slurm_job_modify(change, job, partitions, user)
  if job.partition == "norequeue" then change.requeue = 0 end
  return slurm.SUCCESS
end

return slurm.SUCCESS
"""
