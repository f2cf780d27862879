"""The profile: where a recipe is trained. What a cluster's nodes have, what a job asks for, how it is started.

Rules between fields are in `biodist.config.profile_rules`; where profiles lie in `biodist.config.profiles`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from biodist.config.recipe import PositiveInt, Section

MEBIBYTE = 2**20
Port = Annotated[int, Field(ge=1024, le=65535)]
Word = Annotated[str, Field(min_length=1)]


class Profile(Section):
    """Where to train. GB are 10^9 bytes."""

    name: str = Field(
        "",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=100,
        description="Name in figures and messages; the file's own, without .yaml, when absent.",
    )
    partition: Word | None = Field(None, description="Slurm's partition; the cluster's default one when absent.")
    account: Word | None = Field(None, description="Account that is charged; your default one when absent.")
    qos: Word | None = Field(None, description="Quality of service; the partition's when absent.")
    nodes: int = Field(1, ge=1, description="Nodes of a job; --nodes changes it.")
    gpus_per_node: int = Field(0, ge=0, description="GPUs that a job asks for on each node; 0: none.")
    gpu_type: Word | None = Field(
        None, description="Slurm's name of the GPUs' type, where jobs must give one: a100 asks for gpu:a100."
    )
    gpu_name: Word | None = Field(None, description="What the GPUs are called in plans: NVIDIA A100-SXM4-80GB.")
    gpu_memory_gb: float | None = Field(None, gt=0, description="Memory of one GPU. Training on GPUs needs it.")
    gpu_compute_capability: float | None = Field(
        None, gt=0, description="CUDA's version of the GPU's abilities: 8.0 for A100, 9.0 for H100; below 8.0 no bf16."
    )
    processes_per_node: PositiveInt | Literal["auto"] = Field(
        "auto", description="Ranks on a node; auto: one for each GPU, or one. --nproc changes it."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="auto: GPUs where gpus_per_node is above 0. cpu: ranks on the CPU with gloo, whatever GPUs "
        "(stand-ins, say) the nodes list.",
    )
    cpus_per_process: int = Field(1, ge=1, description="CPUs of a rank, and its threads.")
    memory_gb: float = Field(gt=0, description="Memory that a job asks for on each node.")
    time_limit_min: int = Field(ge=1, description="Minutes after which Slurm ends the job.")
    constraint: Word | None = Field(None, description="Features that the nodes must have, as sbatch --constraint.")
    exclude: Word | None = Field(None, description="Nodes to avoid, as sbatch --exclude.")
    reservation: Word | None = Field(None, description="Reservation to run in.")
    exclusive: bool = Field(False, description="Nodes for this job alone.")
    signal_lead_s: int = Field(
        120,
        ge=1,
        le=65535,
        description="Seconds before the time limit at which the job is asked to save and stop. More than a step and "
        "a save take; Slurm may send it up to 60 s earlier.",
    )
    grace_s: int | None = Field(
        None,
        ge=0,
        description="Seconds that the partition leaves a job that it preempts (GraceTime); absent: not known.",
    )
    requeue: bool = Field(
        True, description="Whether the cluster lets a job be requeued. false: a dependent job goes on instead."
    )
    max_failures: int = Field(
        3, ge=1, description="Attempts in a row that may fail without a new checkpoint before the run is given up."
    )
    setup: tuple[Word, ...] = Field(
        (), description="Lines of shell before srun, as module load; what they export reaches every rank."
    )
    launcher: tuple[Word, ...] = Field(
        (), description="Words put before python: [apptainer, exec, --nv, /shared/image.sif]."
    )
    python: Word | None = Field(
        None, description="The interpreter on the nodes, from the root; the one that submits when absent."
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="Variables for every rank: {NCCL_DEBUG: WARN}."
    )
    network_interface: Word | None = Field(
        None, description="Interface between the nodes: ib0. As gloo and NCCL find it when absent."
    )
    scratch_folder: Word | None = Field(
        None,
        description="Folder on each node for compile caches; {job} and {user} are replaced: /tmp/{user}-{job}. "
        "Their usual places in the home folder when absent.",
    )
    sbatch: dict[str, str] = Field(
        default_factory=dict,
        description="Further options of sbatch, by their long names: {mail-type: END}; true for those without a value.",
    )
    rendezvous_ports: tuple[Port, Port] = Field(
        (20000, 32000), description="First and last port of those on which ranks may meet; the job's number picks one."
    )

    @property
    def trains_on(self) -> Literal["cpu", "cuda"]:
        """What ranks compute on."""
        if self.device == "auto":
            return "cuda" if self.gpus_per_node else "cpu"
        return self.device

    @property
    def has_stand_in_gpus(self) -> bool:
        """Whether a job asks for GPUs and leaves them unused."""
        return self.gpus_per_node > 0 and self.trains_on == "cpu"

    @property
    def processes(self) -> int:
        """Ranks on a node."""
        return max(1, self.gpus_per_node) if self.processes_per_node == "auto" else self.processes_per_node

    @property
    def memory_mib(self) -> int:
        """The same memory of a node in 2^20 bytes, as Slurm counts (`--mem=3814M`)."""
        return max(1, int(self.memory_gb * 10**9) // MEBIBYTE)

    def gpus_of(self, processes_per_node: int) -> int:
        """GPUs to ask for on a node: no more than have a rank, except for stand-ins."""
        return self.gpus_per_node if self.has_stand_in_gpus else min(self.gpus_per_node, processes_per_node)

    def sbatch_options(self) -> dict[str, str | bool]:
        """The further options of sbatch; True where one has no value."""
        return {name: value == "true" or value for name, value in self.sbatch.items()}
