from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from safetensors.numpy import save_file

from biodist.cli.encoder import locate_encoder
from biodist.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOCATE = """
import sys
from biodist.cli.encoder import locate_encoder
from biodist.errors import UserError
try:
    print(locate_encoder(sys.argv[1], sys.argv[2]))
except UserError as error:
    print(error)
    sys.exit(2)
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""


def make_encoder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    save_file({"weight": np.zeros((4, 3), np.float32)}, folder / "model.safetensors")
    return folder


def problems_of(name: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        locate_encoder(name)
    assert all(problem.do for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


def test_nothing_to_locate() -> None:
    assert locate_encoder(None) is None


def test_a_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_encoder(tmp_path / "an encoder é")
    assert locate_encoder(str(folder)) == folder
    monkeypatch.chdir(tmp_path)
    assert locate_encoder("an encoder é") == folder


def test_older_weights_and_byte_level_vocabularies_are_enough(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (folder / "vocab.txt").unlink()
    (folder / "vocab.json").write_text("{}")
    (folder / "merges.txt").write_text("#version: 0.2\n")
    assert locate_encoder(str(folder)) == folder


def test_every_problem_of_a_folder_at_once(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff{")
    said = problems_of(str(tmp_path))
    assert len(said) == 3
    assert f"{tmp_path}/config.json: is not JSON" in said[0]
    assert "has no tokenizer" in said[1]
    assert "has no weights" in said[2]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "is not there" in problems_of(str(tmp_path / "absent"))[0]
    (tmp_path / "file").write_text("")
    assert "is not a folder" in problems_of(str(tmp_path / "file"))[0]


@pytest.mark.parametrize("cut", [1, 8, 20, -1])
def test_weights_that_were_cut_off(tmp_path: Path, cut: int) -> None:
    folder = make_encoder(tmp_path / "m")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:cut])
    assert problems_of(str(folder)) == [f"{weights}: is not a whole safetensors file (download it again)"]


def test_a_pointer_instead_of_weights(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "m")
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "is a Git LFS pointer" in problems_of(str(folder))[0]


def test_a_shard_that_is_missing(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert [line.split(": ")[1][:16] for line in problems_of(str(folder))] == ["is not there, bu"]
    index.write_text("[]")
    assert "is not an index of weights" in problems_of(str(folder))[0]


def locate_apart(name: str, revision: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub's client reads its settings when it is imported."""
    return subprocess.run(
        [sys.executable, "-c", LOCATE, name, revision],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_hub_id_from_the_cache(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--acme--tiny"
    snapshot = make_encoder(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    found = locate_apart("acme/tiny", "main", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert (found.returncode, found.stdout.strip()) == (0, str(snapshot)), found.stderr


@pytest.mark.parametrize("settings", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_a_hub_id_that_cannot_be_had(tmp_path: Path, settings: dict[str, str]) -> None:
    refused = locate_apart("acme/tiny", "v2", HF_HOME=str(tmp_path), **settings)
    assert refused.returncode == 2, refused.stderr
    assert "model.name acme/tiny" in refused.stdout
    assert "hf download acme/tiny --revision v2 --local-dir FOLDER" in refused.stdout
    assert "model.name=FOLDER" in refused.stdout


def test_neither_a_folder_nor_an_id(tmp_path: Path) -> None:
    refused = locate_apart("not an id!", "main", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert refused.returncode == 2
    assert "is neither a folder that is there nor a hub id" in refused.stdout


@contextmanager
def hub_of(folder: Path, requests: list[str]) -> Iterator[str]:
    """A small hub on this machine that serves one repository, acme/tiny."""

    class Hub(BaseHTTPRequestHandler):
        def answer(self, body: bytes, **headers: str) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            requests.append(path)
            names = sorted(file.name for file in folder.iterdir())
            if path.startswith("/api/models/acme/tiny/tree/"):
                rows = [
                    {"type": "file", "path": name, "size": (folder / name).stat().st_size, "oid": name}
                    for name in names
                ]
                self.answer(json.dumps(rows).encode(), Content_Type="application/json")
            elif path.startswith("/api/models/acme/tiny"):
                info = {"id": "acme/tiny", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
                self.answer(json.dumps(info).encode(), Content_Type="application/json")
            elif path.startswith("/acme/tiny/resolve/"):
                name = path.rpartition("/")[2]
                self.answer((folder / name).read_bytes(), ETag=f'"{name}"', X_Repo_Commit=COMMIT)
            else:
                self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def test_a_hub_id_is_downloaded_and_no_more_than_is_needed(tmp_path: Path) -> None:
    served = make_encoder(tmp_path / "served")
    for name in ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "README.md"):
        (served / name).write_bytes(b"not needed")
    requests: list[str] = []
    with hub_of(served, requests) as endpoint:
        settings = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
        first = locate_apart("acme/tiny", "main", **settings)
        assert first.returncode == 0, first.stdout + first.stderr
        folder = Path(first.stdout.strip())
        assert {path.name for path in folder.iterdir()} == {"config.json", "vocab.txt", "model.safetensors"}
        assert (folder / "model.safetensors").read_bytes() == (served / "model.safetensors").read_bytes()
        asked = len(requests)
        again = locate_apart("acme/tiny", "main", **settings)
        assert (again.returncode, again.stdout) == (0, first.stdout)
        assert len(requests) == asked  # the second time the cache is enough: nobody is asked
