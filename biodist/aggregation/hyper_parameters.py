"""The HParams plugin of TensorBoard: its messages read without it, and written with it.

Field numbers are those of tensorboard/plugins/hparams/plugin_data.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from biodist.aggregation.run_view import Scalar, Status
from biodist.aggregation.wire import FIXED64, VARINT, Field, field, fields, varint

if TYPE_CHECKING:
    from tensorboard.plugins.hparams.api_pb2 import HParamInfo

_SESSION_START, _HPARAMS = 3, 1
_NUMBER, _TEXT, _SWITCH = 2, 3, 4  # google.protobuf.Value
_FIRST = "train."
_FEW_VALUES = 30  # of a setting: the page offers them to choose from


def settings_of(content: bytes) -> dict[str, Scalar]:
    """The hyper-parameters that a session's start tells; none where the message is another, or damaged."""
    try:
        return dict(_hparams(content))
    except (ValueError, IndexError, struct.error):
        return {}


def _hparams(content: bytes) -> Iterator[tuple[str, Scalar]]:
    for outer in fields(content):
        if outer.number != _SESSION_START:
            continue
        for entry in fields(content, outer.start, outer.end):
            if entry.number == _HPARAMS:
                parts = {part.number: part for part in fields(content, entry.start, entry.end)}
                value = _scalar(content, parts[2]) if 2 in parts else None
                if 1 in parts and value is not None:
                    yield content[parts[1].start : parts[1].end].decode(errors="replace"), value


def _scalar(content: bytes, value: Field) -> Scalar | None:
    for part in fields(content, value.start, value.end):
        if part.number == _NUMBER and part.wire == FIXED64:
            number = float(struct.unpack_from("<d", content, part.start)[0])
            return int(number) if number.is_integer() and abs(number) < 1 << 53 else number
        if part.number == _TEXT:
            return content[part.start : part.end].decode(errors="replace")
        if part.number == _SWITCH and part.wire == VARINT:
            return bool(varint(content, part.start, part.end)[0])
    return None


def session_start(settings: Mapping[str, Scalar], name: str, started: float) -> bytes:
    """The Summary.Value that tells a run's hyper-parameters; `started` in UNIX seconds."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

    info = SessionStartInfo(group_name=name, start_time_secs=started)
    for key, value in settings.items():
        if isinstance(value, bool):
            info.hparams[key].bool_value = value
        elif isinstance(value, str):
            info.hparams[key].string_value = value
        else:
            info.hparams[key].number_value = value
    return _summary("_hparams_/session_start_info", HParamsPluginData(session_start_info=info).SerializeToString())


def session_end(status: Status, ended: float) -> bytes | None:
    """The Summary.Value that tells how a run ended, at UNIX seconds `ended`; None while that is unknown."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    names = {"finished": "SUCCESS", "failed": "FAILURE", "killed": "FAILURE", "stopped": "FAILURE"}
    if status not in names and status != "running":
        return None
    code = f"STATUS_{names.get(status, 'RUNNING')}"
    info = SessionEndInfo(status=code, end_time_secs=ended)
    return _summary("_hparams_/session_end_info", HParamsPluginData(session_end_info=info).SerializeToString())


def experiment(settings: Sequence[Mapping[str, Scalar]], metrics: Sequence[str]) -> bytes:
    """The Summary.Value that says what the page compares: the settings that differ between runs, and these tags."""
    from tensorboard.plugins.hparams.api_pb2 import Experiment, MetricInfo, MetricName
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    infos = [_info(key, values) for key, values in varied(settings).items()]
    tags = [MetricInfo(name=MetricName(tag=tag)) for tag in metrics]
    content = HParamsPluginData(experiment=Experiment(hparam_infos=infos, metric_infos=tags))
    return _summary("_hparams_/experiment", content.SerializeToString())


def varied(settings: Sequence[Mapping[str, Scalar]]) -> dict[str, list[Scalar]]:
    """The values of each setting that is not the same in all runs that have it; where none differs, of the training's.

    TensorBoard shows the first few columns only: those of the training stand first.
    """
    keys = sorted({key for own in settings for key in own}, key=lambda key: (not key.startswith(_FIRST), key))
    values = {key: list(dict.fromkeys(own[key] for own in settings if key in own)) for key in keys}
    differing = {key: found for key, found in values.items() if len(found) > 1}
    return differing or {key: found for key, found in values.items() if key.startswith(_FIRST) or "." not in key}


def _info(key: str, there: Sequence[Scalar]) -> HParamInfo:
    from google.protobuf.struct_pb2 import ListValue
    from tensorboard.plugins.hparams.api_pb2 import DataType, HParamInfo

    info = HParamInfo(name=key)
    if all(isinstance(value, bool) for value in there):
        info.type = DataType.DATA_TYPE_BOOL
    elif all(isinstance(value, int | float) and not isinstance(value, bool) for value in there):
        info.type = DataType.DATA_TYPE_FLOAT64
    else:
        info.type = DataType.DATA_TYPE_STRING
    if len({type(value) for value in there}) <= 1 and len(there) <= _FEW_VALUES:
        offered = ListValue()
        offered.extend(sorted(there))
        info.domain_discrete.CopyFrom(offered)
    return info


def _summary(tag: str, content: bytes) -> bytes:
    """A value without a number: TensorBoard's data server wants an empty tensor beside a plugin's data."""
    metadata = field(1, field(1, b"hparams") + field(2, content))
    empty = b"\x08\x01" + field(2, field(2, b"\x08\x00"))  # float32[0]
    return field(1, tag.encode()) + field(8, empty) + field(9, metadata)
