"""What holds the house in place: sizes, imports, names, and that every verb explains itself (README, room map)."""

import ast
import json
import os
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("utils", "local", "steps")
MAY_IMPORT = {"utils": {"utils"}, "local": {"local", "utils"}, "steps": {"steps", "utils"}}
FILE_LINES, FUNCTION_LINES = 400, 60
WINDOW = 8
CORPORA = re.compile(r"aishell|cn-?celeb|voxceleb|musan|thchs|speechocean", re.IGNORECASE)
ENGINES = {
    "k2": ("steps/graph", "steps/decoding", "steps/losses"),
    "kaldifst": ("steps/graph", "steps/decoding"),
    "kaldi_decoder": ("steps/graph", "steps/decoding"),
    "kaldilm": ("steps/graph", "steps/decoding"),
}


def files(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> list[Path]:
    """The repository's own files below `folders`, without what runs, caches and environments leave there."""
    found = []
    for folder in folders:
        for path, names, leaves in os.walk(ROOT / folder):
            below = Path(path).relative_to(ROOT)
            work = {"data", "exp", "download"} if below.parts[:1] == ("egs",) and len(below.parts) == 3 else set()
            names[:] = sorted(n for n in names if n not in work | {"__pycache__"} and not n.startswith("."))
            found += [Path(path) / leaf for leaf in sorted(leaves) if leaf.endswith(suffixes)]
    return found


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports, wherever in the file it does."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: relative import; write it from the top"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def verbs() -> list[Path]:
    return [path for path in files("steps") if path.parent == ROOT / "steps" and path.stem != "__init__"]


def clones(paths: Iterable[Path]) -> tuple[float, list[str]]:
    """The share of all windows of 8 lines that occur more than once, and where those start.

    Blank lines, comments and imports are dropped and indentation is stripped first.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    windows = []
    for path in paths:
        numbered = [(n, line.strip()) for n, line in enumerate(path.read_text("utf-8").splitlines(), start=1)]
        kept = [(n, line) for n, line in numbered if line and not re.match(r"#|import |from \S+ import", line)]
        for start in range(len(kept) - WINDOW + 1):
            window = tuple(line for _, line in kept[start : start + WINDOW])
            windows.append((f"{name(path)}:{kept[start][0]}", window))
            seen[window] += 1
    twice = [place for place, window in windows if seen[window] > 1]
    return len(twice) / max(1, len(windows)), twice


def test_no_file_is_long():
    paths = files(*PACKAGES, "tests", "egs", suffixes=(".py", ".sh"))
    lengths = {name(path): len(path.read_text("utf-8").splitlines()) for path in paths}
    assert lengths
    assert {path: length for path, length in lengths.items() if length > FILE_LINES} == {}


def test_no_function_is_long():
    long, seen = {}, 0
    for path in files(*PACKAGES, "tests", "egs"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                seen += 1
                length = node.end_lineno - node.lineno + 1
                if length > FUNCTION_LINES:
                    long[f"{name(path)}:{node.lineno} {node.name}"] = length
    assert seen > 50
    assert long == {}


@pytest.mark.parametrize(
    ("folders", "suffixes", "limit"),
    [(PACKAGES, (".py",), 0.01), (("tests",), (".py",), 0.03), (("utils", "egs"), (".sh",), 0.05)],
    ids=["code", "tests", "shell"],
)
def test_nothing_is_written_twice(folders, suffixes, limit):
    share, places = clones(files(*folders, suffixes=suffixes))
    assert share < limit, f"{share:.1%} of windows of {WINDOW} lines occur more than once: {places}"


def test_clones_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    block = [f"x{n} = {n}" for n in range(8)]
    (tmp_path / "a.py").write_text("import os\n" + "\n".join(block))
    (tmp_path / "b.py").write_text("def f():\n    # comment\n\n" + "\n".join("    " + line for line in block))
    share, places = clones([tmp_path / "a.py", tmp_path / "b.py"])
    assert places == ["a.py:2", "b.py:4"]
    assert share == 2 / 3  # b.py has a second window, which starts with `def f():`


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package):
    forbidden = {"utils", "local", "steps", "egs", "tests"} - MAY_IMPORT[package]
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in files(package)
        for line, module in imports(path)
        if module.split(".")[0] in forbidden
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ["utils", "local"])
def test_no_tensors_outside_steps(package):
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in files(package)
        for line, module in imports(path)
        if module.split(".")[0] in {"torch", "torchaudio"}
    ]
    assert wrong == []


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_stay_in_their_rooms(engine):
    wrong = [
        f"{name(path)}:{line}"
        for path in files(*PACKAGES, "egs")
        for line, module in imports(path)
        if module.split(".")[0] == engine and not name(path).startswith(tuple(r + "/" for r in ENGINES[engine]))
    ]
    assert wrong == []


def test_only_local_and_egs_know_corpora():
    wrong = []
    for path in files("utils", "steps"):
        with path.open("rb") as stream:
            for token in tokenize.tokenize(stream.readline):
                if token.type != tokenize.COMMENT and CORPORA.search(token.string):
                    wrong.append(f"{name(path)}:{token.start[0]} {token.string[:60]}")
    for path in files("utils", suffixes=(".sh",)):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            if CORPORA.search(line.split("#")[0]):
                wrong.append(f"{name(path)}:{number} {line[:60]}")
    assert wrong == []


def test_only_training_knows_optimisers():
    rooms = [path for path in files("steps") if not name(path).startswith("steps/training/")]
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in rooms
        for line, module in imports(path)
        if module.startswith(("torch.optim", "torch.distributed", "torch.cuda.amp", "torch.amp"))
    ]
    assert wrong == []


def test_verbs_are_short_and_end_alike():
    wrong = {}
    ending = ast.dump(ast.parse('if __name__ == "__main__":\n    cli.run(main)').body[0])
    for path in verbs():
        body = tree(path).body
        if any(isinstance(node, ast.ClassDef) for node in ast.walk(tree(path))):
            wrong[name(path)] = "defines a class; that belongs into a room"
        elif ast.dump(body[-1]) != ending:
            wrong[name(path)] = 'does not end with: if __name__ == "__main__": cli.run(main)'
        elif not ast.get_docstring(tree(path)):
            wrong[name(path)] = "has no docstring, which --help would show"
        elif "_" not in path.stem and path.stem not in {"train", "report"}:
            wrong[name(path)] = "is not named verb_object.py"
    assert wrong == {}


def test_rooms_cannot_be_run():
    rooms = [path for path in files("steps") if path.parent != ROOT / "steps"]
    assert [name(path) for path in rooms if "__main__" in path.read_text("utf-8")] == []


def test_there_is_no_drawer():
    every = files(*PACKAGES)
    assert [name(path) for path in every if path.stem in {"utils", "util", "common", "misc", "helpers"}] == []
    assert [name(path) for path in every if path.stem in sys.stdlib_module_names] == []


def test_packages_are_regular_and_ours():
    for package in PACKAGES:
        folders = {path.parent for path in files(package)}
        assert [name(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []
    code = "import utils, local, steps; print(*(m.__file__ for m in (utils, local, steps)), sep='\\n')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == [str(ROOT / package / "__init__.py") for package in PACKAGES]


def test_there_are_no_links():
    everything = files(*PACKAGES, "tests", "egs", ".ci", suffixes=("",))
    assert [name(path) for path in everything if path.is_symlink()] == []


HELP = """
import contextlib, importlib, io, json, sys
said = {}
for module in sys.argv[1:]:
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            importlib.import_module(module).main(["--help"])
        said[module] = "returned instead of exiting"
    except SystemExit as end:
        said[module] = out.getvalue() if not end.code else f"exit status {end.code}"
    except Exception as error:
        said[module] = repr(error)
print(json.dumps(said))
"""


def test_every_verb_explains_itself():
    modules = [f"steps.{path.stem}" for path in verbs()]
    modules += [f"local.{p.stem}" for p in files("local") if "def main(" in p.read_text("utf-8")]
    said = run_python(HELP, *modules)
    wrong = {module: text[:200] for module, text in said.items() if not text.startswith("usage: ")}
    assert wrong == {}
    assert sorted(said) == sorted(modules)
    terse = [module for module, text in said.items() if len(text.split("\n\n")) < 3]
    assert terse == [], "--help has no description above its options"


IMPORTS = """
import importlib, json, sys
for module in json.loads(sys.argv[1]):
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "k2":  # the module that binds it is imported only where it is installed
            raise
print(json.dumps(sorted(set(json.loads(sys.argv[2])) & set(sys.modules))))
"""


@pytest.mark.parametrize(
    ("rooms", "spared"),
    [
        (("steps/graph", "steps/decoding"), ["lhotse", "torchaudio", "onnx"]),
        (("utils",), ["torch", "lhotse", "numpy"]),
    ],
    ids=["graph and decoding", "utils"],
)
def test_imports_stay_light(rooms, spared):
    modules = [name(path)[:-3].replace("/", ".").removesuffix(".__init__") for path in files(*rooms)]
    assert run_python(IMPORTS, json.dumps(modules), json.dumps(spared)) == []


def run_python(code: str, *arguments: str):
    """Runs `code` in a new process at the top of the repository; returns what it printed last, from JSON."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
