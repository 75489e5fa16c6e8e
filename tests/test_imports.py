"""Who may import whom, read from the syntax trees; and that what is asked for lightly stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "vall_e"
FILES = sorted(PACKAGE.rglob("*.py"))
STAGES = ("g2p", "qnt", "transcribe", "process", "similar", "durations")
HEAVY = {"torch", "torchaudio", "librosa", "whisperx", "encodec", "vocos", "phonemizer", "pykakasi", "pyarrow", "ray"}
# The layers of the house, lowest first. A module imports from lower layers and from its own room only.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("vall_e.types",),
    ("vall_e.layout", "vall_e.compat", "vall_e.languages", "vall_e.units", "vall_e.pictures"),
    ("vall_e.storage", "vall_e.audio", "vall_e.executor", "vall_e.config", "vall_e.progress"),
    ("vall_e.registry", "vall_e.stage", "vall_e.scores"),
    (
        *("vall_e.update", "vall_e.emb.words", "vall_e.emb.voice", "vall_e.emb.overlap", "vall_e.emb.guess"),
        "vall_e.emb.hmm",
    ),
    (
        *("vall_e.corpora", "vall_e.emb.asr", "vall_e.emb.text", "vall_e.emb.codecs", "vall_e.emb.gates"),
        *("vall_e.emb.features", "vall_e.emb.slicing"),
    ),
    ("vall_e.emb.utterances", "vall_e.emb.slice_audio"),
    (
        *("vall_e.emb.g2p", "vall_e.emb.qnt", "vall_e.emb.transcribe", "vall_e.emb.process"),
        *("vall_e.emb.audit", "vall_e.emb.verify", "vall_e.emb.durations"),
        "vall_e.dataset",
    ),
    ("vall_e.report", "vall_e.models"),
    ("vall_e.trained",),
    ("vall_e.speaking", "vall_e.emb.similar", "vall_e.emb.mix", "vall_e.training"),
    ("vall_e.synthesize", "vall_e.evaluate", "vall_e.train"),
    ("vall_e.cli",),
)


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.walk(node)
    }
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = (PACKAGE.parent / Path(*inner.split("."))).with_suffix(".py").exists()
                yield inner if is_module or (PACKAGE.parent / Path(*inner.split("."))).is_dir() else str(node.module)


def ours(path: Path) -> set[str]:
    return {name for name in imports(path) if name.split(".")[0] == "vall_e"}


def room_of(name: str) -> str | None:
    """The room that a module lies in; None for the empty packages above them."""
    return next((room for layer in LAYERS for room in layer if name == room or name.startswith(room + ".")), None)


def layer_of(room: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if room in layer)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_rooms(path: Path) -> None:
    name = module_name(path)
    own = room_of(name)
    if own is None:
        assert name in ("vall_e", "vall_e.emb"), f"{name} lies in no room"
        assert not ours(path)
        return
    for used in ours(path):
        room = room_of(used)
        if room is not None and room != own:
            assert layer_of(room) < layer_of(own), f"{name} imports {used}"
    if own == "vall_e.models":
        assert not {used for used in ours(path) if not used.startswith(own)}, "models see torch and types only"
    if own == "vall_e.dataset":
        assert not any(used.startswith("vall_e.emb") for used in ours(path)), "dataset never sees emb"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_heavy_packages_are_imported_where_they_are_used(path: Path) -> None:
    name = module_name(path)
    in_a_kind = "emb" in path.parts and len(path.relative_to(PACKAGE).parts) > 2
    if name == "vall_e.compat" or (in_a_kind and path.name not in ("base.py", "registry.py")):
        return  # itself imported where it is used
    found = {name.split(".")[0] for name in imports(path, top_level_only=True)} & HEAVY
    if name.startswith("vall_e.dataset"):  # loaded by the lazy exports of the package
        found -= {"torch", "pyarrow"}
    if name.startswith("vall_e.models"):  # networks, imported by the commands that run them
        found -= {"torch"}
    assert not found


MODELS = ["vall_e.train", "vall_e.synthesize", "vall_e.evaluate"]
LIGHT = ["vall_e", "vall_e.cli", "vall_e.report", "vall_e.dataset", *MODELS, *(f"vall_e.emb.{each}" for each in STAGES)]


@pytest.mark.parametrize("module", LIGHT)
def test_an_import_loads_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(*sorted({sorted(HEAVY)!r} & sys.modules.keys()))"
    script = script.replace(f"{sorted(HEAVY)!r}", f"set({sorted(HEAVY)!r})")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "command", [*(f"vall_e.emb.{stage}" for stage in STAGES), "vall_e.dataset", "vall_e.cli", "vall_e.report", *MODELS]
)
def test_help_loads_nothing_heavy(command: str) -> None:
    arguments = [sys.executable, "-X", "importtime", "-m", command, "--help"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "usage:" in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & HEAVY


def test_no_pickle_is_read() -> None:
    for path in FILES:
        text = path.read_text()
        assert "allow_pickle=True" not in text, path
        assert "pickle.load" not in text, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in ast.unparse(node), path
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{path}:{node.lineno}: a bare except"
                caught = ast.unparse(node.type)
                reraised = isinstance(node.body[-1], ast.Raise)
                assert caught not in ("Exception", "BaseException") or reraised, f"{path}:{node.lineno}: {caught}"
            if isinstance(node, ast.keyword) and node.arg == "shell":
                raise AssertionError(f"{path}: a shell string")


def test_nothing_that_is_imported_breaks_who_looks_at_all_modules() -> None:
    """speechbrain, which pyannote brings, leaves modules that fail when they are looked at, as `inspect` does."""
    script = (
        "import inspect, sys\n"
        "from vall_e.emb import overlap\n"
        "from vall_e.emb.asr.wav2vec2 import prepare_imports\n"
        "prepare_imports()\n"
        "overlap._model()\n"
        "for module in list(sys.modules.values()):\n"
        "    getattr(module, '__file__', None)\n"
        "inspect.getmodule(overlap._model)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
