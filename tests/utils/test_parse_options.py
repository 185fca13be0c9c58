"""utils/parse_options.sh, driven by real bash scripts."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """#!/usr/bin/env bash
# Counts to 100% of %s and back.
#
# Usage: count.sh [options] DIR
{strict}
nj=8             # parallel jobs
speed=1.5        # playing speed, "1.0" is normal
text="a # b"     # any text
                 # (two lines)
skip_noise=false # leave the noise out
exp_dir=         # where to write
bare=x
LC_ALL=C
. "{root}/utils/parse_options.sh"
after=1          # defined later: no option
printf '%s\\n' "$nj" "$speed" "$text" "$skip_noise" "$exp_dir" "$bare" "$#" "$@"
"""
DEFAULTS = ["8", "1.5", "a # b", "false", "", "x"]


@pytest.fixture(params=["set -euo pipefail", ""], ids=["strict", "lax"])
def run(request, tmp_path: Path, root: Path):
    """Runs the script with words, in a directory with a space; returns the finished process."""
    folder = tmp_path / "a b"
    folder.mkdir()
    script = folder / "count.sh"
    script.write_text(SCRIPT.format(strict=request.param, root=root))

    def call(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", str(script), *words], cwd=folder, capture_output=True, text=True, timeout=20, check=False
        )

    return call


def values(process: subprocess.CompletedProcess) -> list[str]:
    assert process.returncode == 0, process.stderr
    return process.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("words", "changes", "rest"),
    [
        ([], {}, []),
        (["--nj", "3"], {0: "3"}, []),
        (["--nj=3", "data dir", ""], {0: "3"}, ["data dir", ""]),
        (["--nj", "-1"], {0: "-1"}, []),
        (["--speed", "2"], {1: "2"}, []),
        (["--speed=1e-3"], {1: "1e-3"}, []),
        (["--skip-noise", "true"], {3: "true"}, []),
        (["--skip_noise", "--nj", "2"], {0: "2", 3: "true"}, []),
        (["--skip-noise"], {3: "true"}, []),
        (["--text", "$(touch oops) `id` $HOME \"q\" 'r' *"], {2: "$(touch oops) `id` $HOME \"q\" 'r' *"}, []),
        (["--text="], {2: ""}, []),
        (["--text=--nj"], {2: "--nj"}, []),
        (["--text", "汉字 100%"], {2: "汉字 100%"}, []),
        (["--nj", "3", "--", "--nj", "x"], {0: "3"}, ["--nj", "x"]),
        (["--", "x"], {}, ["x"]),
        (["--bare", "y", "-3", "a=b"], {5: "y"}, ["-3", "a=b"]),
    ],
)
def test_values_are_assigned_as_written(run, words, changes, rest):
    wanted = [changes.get(i, default) for i, default in enumerate(DEFAULTS)] + [str(len(rest)), *rest]
    assert values(run(*words)) == wanted


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nj"], "--nj lacks its value"),
        (["--nj", "--speed", "2"], "--nj lacks its value"),
        (["--text"], "--text lacks its value"),
        (["--nj", "many"], "--nj takes an integer, not 'many'"),
        (["--nj", ""], "--nj takes an integer, not ''"),
        (["--nj", "1.5"], "--nj takes an integer"),
        (["--nj=1;id"], "--nj takes an integer"),
        (["--speed", "fast"], "--speed takes a number, not 'fast'"),
        (["--skip-noise", "yes"], "--skip-noise takes true or false, not 'yes'"),
        (["--skip-noise=True"], "--skip-noise takes true or false, not 'True'"),
        (["--sped", "2"], "unknown option --sped; the nearest is --speed"),
        (["--exp", "x"], "unknown option --exp; the nearest is --exp-dir"),
        (["--hlep"], "the nearest is --help"),
        (["--PATH", "/x"], "unknown option --PATH"),
        (["--LC-ALL", "x"], "unknown option --LC-ALL"),
        (["--after", "2"], "unknown option --after"),
        (["--a[$(touch oops)]", "2"], "unknown option"),
        (["-nj", "2"], "write --nj"),
        (["data", "--nj", "2"], "--nj comes after 'data'"),
        (["--config", "none.conf"], "cannot read the file 'none.conf'"),
    ],
)
def test_a_mistake_ends_with_status_2_and_a_way_out(run, tmp_path, words, message):
    process = run(*words)
    assert process.returncode == 2
    assert message in process.stderr
    assert process.stdout == ""
    assert not list(tmp_path.rglob("oops"))


def test_environment_variables_are_no_options(run, monkeypatch):
    monkeypatch.setenv("secret", "1")
    monkeypatch.setenv("nj", "99")
    assert run("--secret", "2").returncode == 2
    assert values(run())[0] == "8"


def test_help_prints_comments_literally(run):
    for word in ("--help", "-h"):
        process = run("--nj", "2", word)
        assert process.returncode == 0
        lines = process.stdout.splitlines()
        assert lines[:3] == ["Counts to 100% of %s and back.", "", "Usage: count.sh [options] DIR"]
        described = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line.startswith("  --")}
        assert described["--nj"] == "parallel jobs [8]"
        assert described["--speed"] == 'playing speed, "1.0" is normal [1.5]'
        assert described["--text"] == "any text [a # b]"
        assert described["--exp-dir"] == "where to write"
        assert list(described)[:6] == ["--nj", "--speed", "--text", "--skip-noise", "--exp-dir", "--bare"]
        assert not any(line.endswith(" ") for line in lines)
        assert "(two lines)" in process.stdout
        assert "--LC-ALL" not in process.stdout


def test_config_files_are_data_and_the_command_line_wins(run, tmp_path):
    config = tmp_path / "a b" / "my conf.yaml"
    config.write_text(
        "# comment\n\nnj: 4\nspeed=2.5   # trailing\n  skip-noise: true\r\n"
        "text: \"one # 'two' $(touch oops)\" # quoted\n--bare=z\nexp_dir: a#b c  \n",
        encoding="utf-8",
    )
    expected = ["4", "2.5", "one # 'two' $(touch oops)", "true", "a#b c", "z", "0"]
    assert values(run("--config", "my conf.yaml")) == expected
    assert values(run("--nj", "5", "--config=my conf.yaml"))[0] == "5"
    assert not list(tmp_path.rglob("oops"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nj: many", "nj (bad.conf:2) takes an integer, not 'many'"),
        ("jn: 3", "unknown option jn (bad.conf:2); the nearest is --nj"),
        ("rm -rf x", "bad.conf:2: expected 'name: value' or 'name=value', found 'rm -rf x'"),
    ],
)
def test_a_mistake_in_a_config_file_names_the_line(run, tmp_path, line, message):
    (tmp_path / "a b" / "bad.conf").write_text(f"# options\n{line}\n")
    process = run("--config", "bad.conf")
    assert process.returncode == 2
    assert message in process.stderr


def test_the_block_is_found_after_a_change_of_directory_and_through_a_sourced_file(tmp_path, root):
    """run.sh sources head.sh, which has options of its own and sources the parser."""
    (tmp_path / "head.sh").write_text(f'verbose=false # say more\n. "{root}/utils/parse_options.sh"\n')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "run.sh").write_text(
        "# Help of run.\n"
        'cd "$(dirname "$0")"\nname=a # a name\n. ../head.sh\necho "$name $verbose ${option_names[*]}"\n'
    )

    def call(*words: str) -> str:
        process = subprocess.run(
            ["bash", "sub/run.sh", *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    assert call("--name", "b", "--verbose") == "b true name verbose\n"
    described = call("--help")
    assert described.startswith("Help of run.")
    assert described.index("--name") < described.index("Common options:") < described.index("--verbose")


def test_options_named_like_inner_words_work(tmp_path, root):
    """The parser's own variables must not shadow options called name, value, line or type."""
    script = tmp_path / "s.sh"
    script.write_text(
        f'name=1\nvalue=a\nline=b\ntype=c\nword=d\n. "{root}/utils/parse_options.sh"\n'
        'echo "$name $value $line $type $word"\n'
    )
    words = ["--name", "2", "--value", "v", "--line", "l", "--type", "t", "--word", "w"]
    process = subprocess.run(["bash", str(script), *words], capture_output=True, text=True, check=True)
    assert process.stdout == "2 v l t w\n"


def test_shellcheck_is_clean(root):
    checker = Path(sys.executable).with_name("shellcheck")
    if not checker.exists():
        pytest.skip("no shellcheck in this environment")
    names = ["utils/parse_options.sh", "utils/stage.sh", "utils/task.sh", "cmd.sh"]
    process = subprocess.run([checker, "-x", *names], cwd=root, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout
