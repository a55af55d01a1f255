"""What a user types about weights and their terms, and what the server then finds."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from bridge_server import weights as found_weights
from bridge_server.cli import license as license_command
from bridge_server.cli import weights as weights_command
from host_plugins.wire.errors import BridgeError
from install import manifest, places
from install.machine import Machine
from models.weights import WeightsMismatch, convert, read_tensors


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("CHROMABRIDGE_HOME", str(home))
    monkeypatch.delenv("CHROMABRIDGE_POLICY", raising=False)
    return home


def run(app: Any, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output


def checkpoint(path: Path) -> Path:
    torch.save({"a.weight": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}, path)
    return path


def deep_exemplar_zip(folder: Path) -> Path:
    path = folder / "colorization_checkpoint.zip"
    with zipfile.ZipFile(path, "w") as file:
        for key, name in manifest.get("deep_exemplar").files.items():
            file.write(checkpoint(folder / f"{key}.pth"), name)
    return path


def test_free_weights_are_imported_converted_and_found(own_home: Path, tmp_path: Path) -> None:
    archive = deep_exemplar_zip(tmp_path)
    code, text = run(weights_command.app, "import", "deep_exemplar", str(archive))
    assert code == 0, text
    assert "pinned now" in text
    found = found_weights.find("deep_exemplar", verify=True)
    assert set(found.files) == {"nonlocal_net", "colornet", "vgg19_conv"}
    tensors = read_tensors(found.files["colornet"])
    assert torch.equal(tensors["a.weight"], torch.arange(6.0).reshape(2, 3))
    made_by = found.made_by()
    assert made_by["license"] == "MIT"
    assert made_by["sha256"] == found.sha256
    assert "CVPR 2019" in made_by["attribution"]
    code, text = run(weights_command.app, "verify", "--json")
    assert (code, json.loads(text)["deep_exemplar"]["ok"]) == (0, True)


def test_weights_that_are_not_here_name_the_command(own_home: Path) -> None:
    with pytest.raises(BridgeError) as failed:
        found_weights.find("deep_exemplar")
    assert failed.value.code == "weights_missing"
    assert failed.value.hint == "Fetch them with: chromabridge weights fetch deep_exemplar"
    assert found_weights.why_not("deep_exemplar") is not None


def test_changed_weights_are_not_loaded(own_home: Path, tmp_path: Path) -> None:
    run(weights_command.app, "import", "deep_exemplar", str(deep_exemplar_zip(tmp_path)))
    path = found_weights.find("deep_exemplar").files["colornet"]
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(BridgeError) as failed:
        found_weights.find("deep_exemplar", verify=True)
    assert failed.value.code == "weights_mismatch"
    code, text = run(weights_command.app, "verify")
    assert code == 1
    assert "expected SHA-256" in text


def test_colormnet_is_off_until_it_is_accepted_by_name(own_home: Path, tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "colormnet.pth")
    code, text = run(weights_command.app, "fetch", "colormnet", "--from-file", str(file))
    assert code == 3
    assert "license_required" in text
    assert "chromabridge license accept colormnet" in text
    code, _ = run(license_command.app, "accept", "colormnet")
    assert code == 3
    code, text = run(
        license_command.app, "accept", "colormnet", "--name", "Ada", "--purpose", "study"
    )
    assert code == 0
    assert "CC-BY-NC-SA-4.0" in text
    code, text = run(weights_command.app, "fetch", "colormnet", "--from-file", str(file))
    assert code == 0, text
    assert found_weights.find("colormnet").commercial is False
    run(license_command.app, "revoke", "colormnet")
    error = found_weights.why_not("colormnet")
    assert error is not None
    assert error.code == "license_required"


def test_site_policy_turns_accepted_weights_off(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(license_command.app, "accept", "colormnet", "--name", "Ada", "--purpose", "study")
    policy = tmp_path / "policy.json"
    policy.write_text('{"schema": 1, "non_commercial_weights": "forbid"}')
    monkeypatch.setenv("CHROMABRIDGE_POLICY", str(policy))
    error = found_weights.why_not("colormnet")
    assert error is not None
    assert error.code == "license_forbidden"
    code, text = run(license_command.app, "list", "--json")
    told = json.loads(text)
    assert (code, told["weights"]["colormnet"]["code"]) == (0, "license_forbidden")
    code, text = run(weights_command.app, "list", "--json")
    (row,) = [row for row in json.loads(text) if row["name"] == "colormnet"]
    assert row["allowed"] is False


def test_unknown_weights_are_named_with_the_known_ones(own_home: Path) -> None:
    code, text = run(weights_command.app, "fetch", "colornet")
    assert code != 0
    assert "colormnet, deep_exemplar" in text


def test_a_pickle_with_code_in_it_is_refused_unread(own_home: Path, tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path(tmp_path / "ran").touch, ())

    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"a": Evil()}, protocol=2))
    with pytest.raises(WeightsMismatch, match=r"evil\.pth"):
        convert(path, tmp_path / "out.safetensors")
    assert not (tmp_path / "ran").exists()


def test_conversion_keeps_every_bit(tmp_path: Path) -> None:
    values = {
        "half": torch.randn(4, 5).half(),
        "brain": torch.randn(3).bfloat16(),
        "turned": torch.randn(4, 6).t(),
        "count": torch.tensor(7),
        "nan": torch.tensor([float("nan"), -0.0]),
    }
    torch.save(values, tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "a.safetensors")
    back = read_tensors(tmp_path / "a.safetensors")
    for key, value in values.items():
        assert back[key].dtype == value.dtype
        raw = value.contiguous().reshape(-1).view(torch.uint8)
        assert torch.equal(back[key].contiguous().reshape(-1).view(torch.uint8), raw)


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_installer_and_hosts_agree_where_a_users_things_lie(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from host_plugins import places as host_places

    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    given = {"XDG_DATA_HOME": "/x/data", "LOCALAPPDATA": "C:/Users/ada/Local"}
    for env in ({}, given, {**given, "CHROMABRIDGE_HOME": "/srv/chroma"}):
        ours = places.home(Machine(system=system, env=env, home=tmp_path))
        assert ours == host_places.home(env, system)
