"""The recipe: what to train. Frozen, typed, a line of description on every field.

A recipe's scalars arrive as the text that was written; the types here make them numbers, switches or names.
Rules between fields are in `biodist.config.rules`, what this version does not do yet in `biodist.config.readiness`.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

TaskName = Literal["ner", "nli", "classification", "qa", "relation"]
CorpusFormat = Literal[
    "iob", "iob2", "iobes", "conll", "brat", "pubtator", "bioc", "jsonl", "tsv", "csv", "pubmedqa", "bigbio"
]
CORPUS = "corpus"  # of `Augment.sources`: the names of the training files
Dropout = Annotated[float, Field(ge=0, lt=1)]
Moment = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of every part of a recipe: frozen, closed to unknown keys, numbers finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", str_strip_whitespace=True, allow_inf_nan=False, protected_namespaces=()
    )


class ScratchSize(Section):
    """The size of a model made from nothing (`model.init: scratch`)."""

    layers: int = Field(2, ge=1, description="Transformer layers.")
    hidden_size: int = Field(128, ge=8, description="Width of a token's vector.")
    heads: int = Field(4, ge=1, description="Attention heads; divides hidden_size.")
    intermediate_size: int = Field(512, ge=8, description="Width of the feed-forward layer.")
    vocab_size: int = Field(4000, ge=64, description="Largest WordPiece vocabulary trained on the training text.")
    max_positions: int = Field(512, ge=16, description="Longest sequence the position embeddings allow, in tokens.")
    lower_case: bool = Field(False, description="Lower-case the text before WordPiece.")
    attention_dropout: Dropout | None = Field(None, description="Dropout of attention; model.dropout when absent.")


class ModelSection(Section):
    """Which encoder to fine-tune."""

    name: str | None = Field(None, description="Hub id or local folder of the encoder; absent under init: scratch.")
    revision: str = Field("main", min_length=1, description="Branch, tag or commit on the hub.")
    after: str | None = Field(
        None,
        min_length=1,
        description="Recipe or run folder whose finished run's model is trained on; in place of name.",
    )
    init: Literal["pretrained", "scratch"] = Field(
        "pretrained", description="Start from the encoder's weights, or from a small model made from nothing."
    )
    scratch: ScratchSize = Field(
        ScratchSize(), description="Size of the model and of its vocabulary under init: scratch."
    )
    dropout: Dropout | None = Field(
        None, description="Dropout of hidden states and attention; the encoder's own when absent."
    )
    activation_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass to save memory."
    )


class Columns(Section):
    """Where a sample's parts stand: fields of a JSON line, columns of a table; those of the task where absent.

    A whole number is a column's position, from 1, in a table without a header line.
    """

    text: str | None = Field(None, min_length=1, description="The text; nli: sentence1, classification: text.")
    second: str | None = Field(
        None, min_length=1, description="The other text of a pair; nli: sentence2, classification: none."
    )
    label: str | None = Field(
        None, min_length=1, description="The class; nli: gold_label, classification: label, pubmedqa: final_decision."
    )
    id: str | None = Field(
        None, min_length=1, description="The sample's id in its file; nli: pairID, classification: id. May be missing."
    )

    @property
    def by_position(self) -> bool:
        """Whether the columns are named by position: the table has no header line then."""
        return any(name.isascii() and name.isdigit() for name in (self.text, self.second, self.label, self.id) if name)


COLUMNS_OF_TASK = {
    "nli": Columns(text="sentence1", second="sentence2", label="gold_label", id="pairID"),
    "classification": Columns(text="text", label="label", id="id"),
}
COLUMNS_OF_PUBMEDQA = Columns(text="QUESTION", second="CONTEXTS", label="final_decision")


class SpanFields(Section):
    """What the fields of JSON lines with spans are called (task ner, format jsonl)."""

    id: str = Field("id", min_length=1, description="The document's id. May be missing.")
    text: str = Field("text", min_length=1, description="The document's text.")
    entities: str = Field("entities", min_length=1, description="The list of its entities.")
    start: str = Field("start", min_length=1, description="An entity's first character, from 0.")
    end: str = Field("end", min_length=1, description="The character behind an entity's last.")
    type: str = Field("type", min_length=1, description="An entity's type.")


class CorpusEntry(Section):
    """One file of one split."""

    path: str = Field(min_length=1, description="File, relative to the folder the command runs in; ~ is the home.")
    format: CorpusFormat = Field("iob", description="How the file is written.")
    name: str | None = Field(
        None, min_length=1, description="Name of the corpus in figures and sample ids; the file's stem when absent."
    )
    annotates: tuple[str, ...] | None = Field(
        None, description="Entity types this corpus annotates, after map; all of data.labels when absent."
    )
    map: dict[str, str] = Field(default_factory=dict, description="Renames labels of the corpus: {DISO: Disease}.")
    columns: Columns = Field(Columns(), description="Where a sample's parts stand in a table or a JSON line.")
    fields: SpanFields = Field(SpanFields(), description="What the fields of JSON lines with spans are called.")
    subset: str | None = Field(None, min_length=1, description="bigbio: configuration of a data set on a hub.")
    part: str | None = Field(None, min_length=1, description="bigbio: split of a data set that has several.")
    revision: str | None = Field(None, min_length=1, description="bigbio: branch, tag or commit on the hub.")

    @property
    def corpus(self) -> str:
        """The corpus's name in figures and sample ids."""
        return self.name or PurePath(self.path).stem

    def columns_for(self, task: TaskName) -> Columns:
        """What the file's columns are called: as the recipe says, else as its format or task has it.

        A file whose columns go by position has an id only where the recipe gives its position.
        """
        usual = COLUMNS_OF_PUBMEDQA if self.format == "pubmedqa" else COLUMNS_OF_TASK.get(task, Columns())
        if self.columns.by_position:
            usual = usual.model_copy(update={"id": None})
        return usual.model_copy(update=self.columns.model_dump(exclude_none=True))


class Temperature(Section):
    """Corpora drawn in proportion to (samples) ^ (1 / temperature)."""

    temperature: float = Field(gt=0, description="1 is proportional; the higher, the nearer to equal.")


class Augment(Section):
    """Copies of training sentences in which mentions are exchanged for others of their type."""

    share: float = Field(
        gt=0, le=1, description="Share of the training mentions that are exchanged; their sentences get a copy."
    )
    sources: tuple[str, ...] = Field(
        (CORPUS,),
        min_length=1,
        description="Where names come from, equally often: corpus (training files), OBO files, TSVs of type and name.",
    )
    map: dict[str, str] = Field(
        default_factory=dict, description="Types of the files' names, by prefix of an OBO id or first column of a TSV."
    )
    seed: int = Field(42, ge=0, lt=2**32, description="Seed of which sentences, and which names.")

    @property
    def files(self) -> tuple[tuple[int, str], ...]:
        """The sources that are files, with their places in the list."""
        return tuple((number, source) for number, source in enumerate(self.sources) if source != CORPUS)


class DataSection(Section):
    """The corpora and how samples are made of them."""

    sensitive: bool = Field(False, description="true: run folders and caches are readable by their owner alone (0700).")
    max_length: int = Field(512, ge=8, description="Longest window, in tokens, special ones included.")
    stride: int = Field(64, ge=0, description="Tokens that two windows of a longer sample share.")
    max_windows: PositiveInt | None = Field(
        None, description="Windows of one long text that are fed; what is beyond them is cut. All when absent."
    )
    pool: Literal["mean", "max"] = Field(
        "mean", description="How the scores of a long text's windows become one prediction."
    )
    truncate: Literal["longest", "first", "second"] = Field("longest", description="Which side of a pair is cut.")
    multi_label: bool = Field(
        False, description="Classification: true where a sample has none, one or several of data.labels."
    )
    repair: bool = Field(False, description="Broken tag sequences: false refuses them, true repairs and counts them.")
    overlaps: Literal["flatten", "refuse", "keep"] = Field(
        "flatten",
        description="Mentions that share characters: flatten keeps the longest, then the first, and counts the others; "
        "refuse; keep is for `biodist data convert` alone.",
    )
    discontinuous: Literal["flatten", "refuse", "keep"] = Field(
        "flatten",
        description="Mentions with gaps: flatten stretches them over the gaps, or drops them where that overlaps, and "
        "counts them; refuse; keep is for `biodist data convert` alone.",
    )
    labels: tuple[str, ...] = Field(
        (), description="Entity types or classes, in order; checked against the corpora. Every task but qa needs them."
    )
    merge: Literal["marginal", "masked", "naive", "tagged"] = Field(
        "marginal", description="How training corpora that annotate different types are merged."
    )
    sampling: Literal["proportional", "equal"] | Temperature = Field(
        "proportional", description="How often each training corpus is drawn."
    )
    leaks: Literal["drop", "keep"] = Field(
        "drop", description="Training sentences that validation or test has too: left out and counted, or kept."
    )
    augment: Augment | None = Field(None, description="Adds copies with exchanged mentions to the training sentences.")
    train: tuple[CorpusEntry, ...] = Field(min_length=1, description="Training files.")
    validation: tuple[CorpusEntry, ...] = Field(
        (), description="Validation files: they choose the best model. Without any, the last weights are the best."
    )
    test: tuple[CorpusEntry, ...] = Field((), description="Test files: read once, at the end.")


class TrainSection(Section):
    """The optimisation. Independent of the machine."""

    epochs: PositiveInt | None = Field(None, description="Passes over the training samples. Or max_steps, not both.")
    max_steps: PositiveInt | None = Field(None, description="Optimizer steps. Or epochs, not both.")
    global_batch: int = Field(32, ge=1, description="Samples per optimizer step, whatever the machine.")
    micro_batch: PositiveInt | Literal["auto"] = Field(
        "auto", description="Windows per forward pass of one process, or auto."
    )
    learning_rate: float = Field(3e-5, gt=0, description="Peak learning rate.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="Shape of the learning rate after warm-up."
    )
    warmup_ratio: float = Field(
        0.1, ge=0, le=1, description="Share of the steps in which the learning rate rises from 0."
    )
    betas: tuple[Moment, Moment] = Field((0.9, 0.999), description="AdamW's decay of its two moments.")
    eps: float = Field(1e-8, gt=0, description="AdamW's epsilon.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's decay; not applied to biases and norms.")
    max_grad_norm: float = Field(1.0, ge=0, description="Gradients are clipped to this norm; 0 leaves them.")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="Autocast over fp32 weights, under every strategy."
    )
    padding: Literal["none", "batch"] = Field(
        "none", description="none: unpadded rows; batch: padded to the longest of the micro-batch."
    )
    seed: int = Field(42, ge=0, lt=2**32, description="Seed of every random choice.")


class DistributedSection(Section):
    """How the work is divided."""

    strategy: Literal["ddp", "zero1", "zero2", "zero3"] = Field(
        "ddp",
        description="ddp: every process keeps all; zero1: a part of the optimizer's state; "
        "zero2: and of the gradients; zero3: and of the weights.",
    )
    offload: Literal["none", "cpu"] = Field("none", description="Where the optimizer's state lives.")
    timeout_s: int = Field(600, ge=5, description="Seconds without progress after which a rank is hung.")


class CheckpointSection(Section):
    """What is saved, and kept."""

    every_steps: int = Field(500, ge=1, description="Steps between two checkpoints.")
    keep_last: int = Field(2, ge=1, description="Newest checkpoints kept.")
    keep_best: int = Field(1, ge=0, description="Best checkpoints kept, by evaluate.metric; needs data.validation.")
    keep_every: int = Field(0, ge=0, description="Keeps each checkpoint whose step is a multiple of this; 0: none.")
    asynchronous: bool = Field(True, description="Write while training goes on.")


class EvaluateSection(Section):
    """When and how the model is scored."""

    every: Literal["epoch"] | PositiveInt = Field("epoch", description="Each epoch, or each so many steps.")
    metric: str = Field("f1", description="Metric of the validation split that chooses the best model.")
    mode: Literal["max", "min"] = Field("max", description="Whether more or less of the metric is better.")
    test: bool = Field(True, description="Score the test split, if any, with the best weights, once, at the end.")


class Recipe(Section):
    """What to train."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100, description="Name of the run's folder and in figures."
    )
    task: TaskName = Field(description="What is learnt.")
    model: ModelSection = Field(description="Which encoder.")
    data: DataSection = Field(description="Which corpora.")
    train: TrainSection = Field(description="The optimisation.")
    distributed: DistributedSection = Field(DistributedSection(), description="How the work is divided.")
    checkpoint: CheckpointSection = Field(CheckpointSection(), description="What is saved.")
    evaluate: EvaluateSection = Field(EvaluateSection(), description="When it is scored.")
