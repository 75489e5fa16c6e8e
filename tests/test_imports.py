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
BASE = {"vall_e", "vall_e.types"}
CORE = BASE | {"vall_e.manifest", "vall_e.audio", "vall_e.executor", "vall_e.config"}
STAGES = ("g2p", "qnt", "transcribe", "process", "similar")
HEAVY = {"torch", "torchaudio", "librosa", "whisperx", "encodec", "vocos", "phonemizer", "pykakasi", "pyarrow", "ray"}


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


def allowed(name: str) -> set[str] | None:
    """What a module of this name may import of ours; None: anything below its own room."""
    if name in BASE:
        return set()
    if name == "vall_e.audio":
        return BASE | {"vall_e._decoders"}
    if name in {"vall_e.manifest", "vall_e._decoders", "vall_e.executor", "vall_e.config"}:
        return BASE
    if name == "vall_e.stage":
        return CORE
    return None


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_rooms(path: Path) -> None:
    name, used = module_name(path), ours(path)
    limit = allowed(name)
    if limit is not None:
        assert used <= limit
    elif name.startswith("vall_e.emb.backends"):
        assert all(module in CORE or module.startswith("vall_e.emb.backends") for module in used), used
    elif name.startswith("vall_e.emb"):
        stages = {f"vall_e.emb.{stage}" for stage in STAGES} - {name}
        composing = {"vall_e.emb.process": {"g2p", "qnt"}, "vall_e.emb.quality": {"qnt"}, "vall_e.emb.kaldi": {"qnt"}}
        permitted = {f"vall_e.emb.{stage}" for stage in composing.get(name, ())}
        assert not (used & stages) - permitted, used
        assert not any(module.startswith(("vall_e.dataset", "vall_e.cli", "vall_e.report")) for module in used), used
    elif name.startswith("vall_e.dataset"):
        assert all(module in CORE or module.startswith("vall_e.dataset") for module in used), used


@pytest.mark.parametrize("path", [path for path in FILES if "backends" not in path.parts], ids=module_name)
def test_heavy_packages_are_imported_where_they_are_used(path: Path) -> None:
    found = {name.split(".")[0] for name in imports(path, top_level_only=True)} & HEAVY
    name = module_name(path)
    if name.startswith("vall_e.dataset"):  # loaded by the lazy exports of the package
        found -= {"torch", "pyarrow"}
    assert not found
    assert not [other for other in imports(path, top_level_only=True) if other.startswith("vall_e.emb.backends.")]


LIGHT = ["vall_e", "vall_e.cli", "vall_e.report", "vall_e.dataset", *(f"vall_e.emb.{stage}" for stage in STAGES)]


@pytest.mark.parametrize("module", LIGHT)
def test_an_import_loads_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(*sorted({sorted(HEAVY)!r} & sys.modules.keys()))"
    script = script.replace(f"{sorted(HEAVY)!r}", f"set({sorted(HEAVY)!r})")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "command", [*(f"vall_e.emb.{stage}" for stage in STAGES), "vall_e.dataset", "vall_e.cli", "vall_e.report"]
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
