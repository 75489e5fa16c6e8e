"""The pages: links lead somewhere, the reference is what the code says, and the Python in them runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *(REPOSITORY / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_to_files(page: Path) -> None:
    for target, _ in LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_every_page_is_in_the_index() -> None:
    index = (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")
    linked = {(REPOSITORY / "docs" / target).resolve() for target, _ in LINK.findall(index)}
    pages = {page for page in PAGES if page.is_relative_to(REPOSITORY / "docs") and page.name != "README.md"}
    assert pages <= linked, pages - linked


def test_the_reference_is_what_the_code_says() -> None:
    command = [sys.executable, str(REPOSITORY / "docs" / "make_reference.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_module_and_script_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for module in re.findall(r"python -m (vall_e[\w.]*)", text):
        path = REPOSITORY.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{page}: {module}"
    for script in re.findall(r"python ((?:benchmarks|data|docs|examples)/\w+\.py)", text):
        assert (REPOSITORY / script).exists(), f"{page}: {script}"


def test_the_chain_from_python(tmp_path: Path) -> None:
    """docs/python.md, block after block, in one program."""
    page = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 4
    body = "\n".join(blocks)
    program = f"if __name__ == '__main__':\n{''.join('    ' + line + chr(10) for line in body.splitlines())}"
    (tmp_path / "chain.py").write_text(program, encoding="utf-8")
    (tmp_path / "voices").symlink_to(REPOSITORY / "data" / "demo" / "voices" / "world")
    command = [sys.executable, "chain.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "batches of an epoch" in done.stdout
