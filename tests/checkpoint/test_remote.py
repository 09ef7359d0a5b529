"""Weights behind an address: the same as in the file, each byte fetched once, and a sentence for each failure."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save, save_file

from lqtheory.analysis import analyze
from lqtheory.checkpoint import CheckpointError, read, remote
from lqtheory.cli import main

rng = np.random.default_rng(0)
WEIGHTS = {f"layer{k}.weight": rng.standard_normal((40 + k, 30)).astype(np.float32) for k in range(4)}


class Server(ThreadingHTTPServer):
    """Serves `files`; counts the bytes sent of each; breaks connections after as many bytes as `breaks` says."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.sent, self.breaks, self.ranged = {}, {}, [], True

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_):
        pass

    def do_GET(self):
        name = self.path.split("?")[0].lstrip("/")
        content = self.server.files.get(name)
        if content is None:
            self.send_error(404)
            return
        first, last, wanted = 0, len(content) - 1, self.headers.get("Range")
        if wanted and self.server.ranged:
            first, last = (int(end) for end in wanted.removeprefix("bytes=").split("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        else:
            self.send_response(200)
        part = content[first : last + 1]
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if len(part) > 1000 and self.server.breaks:
            part = part[: self.server.breaks.pop()]
            self.close_connection = True
        self.server.sent[name] = self.server.sent.get(name, 0) + len(part)
        self.wfile.write(part)


@pytest.fixture
def server():
    with Server() as found:
        found.files["model.safetensors"] = save(WEIGHTS)
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def sentence(source):
    with pytest.raises(CheckpointError) as caught:
        read(source)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


def test_what_is_analysed_is_what_the_file_holds_and_is_fetched_once(server, tmp_path, monkeypatch):
    monkeypatch.setattr("lqtheory.scan.CHUNK", 100)
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    there, here = analyze(server.url("model.safetensors?token=secret")), analyze(tmp_path / "model.safetensors")
    assert there.to_dict()["network"] == here.to_dict()["network"]
    assert there.checkpoint.source == server.url("model.safetensors")
    assert server.sent["model.safetensors"] == len(server.files["model.safetensors"])


def test_nothing_is_fetched_that_is_not_analysed(server):
    assert len(read(server.url("model.safetensors")).tensors) == 4
    assert server.sent["model.safetensors"] < 1000
    analyze(server.url("model.safetensors"), include="layer1.*")
    assert server.sent["model.safetensors"] < 2000 + WEIGHTS["layer1.weight"].nbytes


def test_shards_behind_an_index(server):
    names = list(WEIGHTS)
    for k, part in enumerate((names[:1], names[1:])):
        server.files[f"deep/part{k}.safetensors"] = save({name: WEIGHTS[name] for name in part})
    owner = {name: f"part{min(k, 1)}.safetensors" for k, name in enumerate(names)}
    server.files["deep/model.safetensors.index.json"] = json.dumps({"weight_map": owner}).encode()
    server.files["deep/config.json"] = b'{"model_type": "mixtral"}'
    checkpoint = read(server.url("deep/model.safetensors.index.json"))
    assert sorted(tensor.name for tensor in checkpoint.tensors) == names
    assert checkpoint.config == {"model_type": "mixtral"}
    for tensor in checkpoint.tensors:
        assert np.array_equal(tensor.values(), WEIGHTS[tensor.name])


def test_a_model_on_the_hub_without_its_cache(server, monkeypatch):
    files = {name: server.url(name) for name in ("config.json", "model.safetensors")}
    asked = []
    monkeypatch.setattr(remote, "model_files", lambda name: asked.append(name) or files)
    assert read("hf://org/name@main").parameters == sum(w.size for w in WEIGHTS.values())
    assert asked == ["org/name@main"]
    monkeypatch.setattr(remote, "model_files", lambda name: {"pytorch_model.bin": ""})
    assert "has no .safetensors" in sentence("hf://org/name")


def test_an_address_of_the_hub_needs_a_name_and_the_hub():
    assert "reads hf://org/name" in sentence("hf://name")


def test_a_connection_that_breaks_is_taken_up_again(server):
    server.breaks = [1500, 10]
    found = {tensor.name: tensor.values() for tensor in read(server.url("model.safetensors")).tensors}
    assert all(np.array_equal(found[name], w) for name, w in WEIGHTS.items())
    assert not server.breaks
    assert server.sent["model.safetensors"] == len(server.files["model.safetensors"])


def test_a_connection_that_breaks_for_good_names_the_tensor_and_goes_on(server):
    checkpoint = read(server.url("model.safetensors"))
    server.breaks = [100, 100, 100]
    result = analyze(checkpoint)
    (reason,) = result.damaged
    assert "at tensor 'layer0.weight' cannot be read after 300 of 4800 bytes" in reason
    assert [each.tensor.name for each in result.tensors] == list(WEIGHTS)[1:]


def test_sentences(server):
    assert "the server answers 404" in sentence(server.url("absent.safetensors"))
    assert "the server answers 404" in sentence(server.url("absent.safetensors.index.json"))
    assert "must end in .safetensors" in sentence(server.url("model.pt"))
    server.files["lying.safetensors"] = (1 << 60).to_bytes(8, "little") + b"{}"
    assert "not a sound safetensors file" in sentence(server.url("lying.safetensors"))
    server.files["cut.safetensors"] = server.files["model.safetensors"][:-7]
    assert "not a sound safetensors file" in sentence(server.url("cut.safetensors"))
    server.files["broken.safetensors.index.json"] = b"[]"
    assert "is not an index of shards" in sentence(server.url("broken.safetensors.index.json"))
    server.ranged = False
    text = sentence(server.url("model.safetensors?token=secret"))
    assert "must be on a server that sends parts of files" in text
    assert "secret" not in text


def test_a_file_that_changes_while_it_is_read(server):
    checkpoint = read(server.url("model.safetensors"))
    server.files["model.safetensors"] += b"more"
    with pytest.raises(CheckpointError, match="has changed since its header was read"):
        checkpoint.tensors[0].values()


def test_nobody_there(server):
    url = server.url("model.safetensors")
    server.server_close()
    server.shutdown()
    assert "cannot be read at the first byte" in sentence(url)


def test_the_command_line_takes_an_address(server):
    result = CliRunner().invoke(main, ["analyze", server.url("model.safetensors"), "--format", "json"])
    assert result.exit_code == 0
    assert [tensor["name"] for tensor in json.loads(result.stdout)["tensors"]] == list(WEIGHTS)
