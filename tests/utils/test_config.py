"""utils/config.py: what is written once is checked always, and an error names the key, the file and the way out."""

import math
import typing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import MISSING

from utils import config
from utils.config import ConfigError


@dataclass
class Optim:
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    warm_steps: int = 100
    decay: float | None = None

    def __post_init__(self):
        if self.lr <= 0:
            raise ValueError(f"optim.lr must be positive, got {self.lr}")


@dataclass
class Model:
    dim: int = 144
    causal: bool = False
    norm: str = "layer"
    strides: list[int] = field(default_factory=lambda: [2, 2])


@dataclass
class Experiment:
    task: str = MISSING
    seed: int = 0
    optim: Optim = field(default_factory=Optim)
    model: Model = field(default_factory=Model)


@dataclass
class Silent:
    n: int = 0

    def __post_init__(self):
        if self.n < 0:
            raise ValueError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "設定 a.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_then_file_then_overrides(tmp_path):
    path = write(tmp_path, "task: asr\noptim:\n  lr: 3e-4\n  warm_steps: 7\nmodel:\n  norm: batch\n")
    loaded = config.load(Experiment, path, ["optim.lr=1", "model.strides=[4]", "model.causal=true"])
    assert loaded == Experiment(
        task="asr",
        optim=Optim(lr=1.0, warm_steps=7),
        model=Model(causal=True, norm="batch", strides=[4]),
    )
    assert isinstance(loaded.optim.lr, float)
    assert isinstance(loaded.optim, Optim)


def test_scientific_notation_is_a_number(tmp_path):
    """PyYAML alone takes 3e-4 for a string."""
    assert config.load(Experiment, write(tmp_path, "task: asr\noptim: {lr: 3e-4}")).optim.lr == 3e-4
    assert config.load(Experiment, None, ["task=asr", "optim.lr=3e-4"]).optim.lr == 3e-4


def test_an_empty_file_has_the_defaults(tmp_path):
    assert config.load(Optim, write(tmp_path, "")) == Optim()
    assert config.load(Optim, write(tmp_path, "# nothing yet\n")) == Optim()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tusk: asr", r"設定 a.yaml: unknown key 'tusk'; did you mean 'task'\?"),
        ("optim: {wram_steps: 3}", r"unknown key 'optim.wram_steps'; did you mean 'optim.warm_steps'\?"),
        ("optim: {zzz: 3}", r"unknown key 'optim.zzz'; known keys: lr, betas, warm_steps, decay"),
        ("3: asr", r"unknown key '3'; known keys: task, seed, optim, model"),
        ("seed: many", r"設定 a.yaml: seed: .*many"),
        ("seed: 1.5", r"設定 a.yaml: seed: .*1\.5"),
        ("optim: {lr: fast}", r"optim\.lr: .*fast"),
        ("model: {causal: maybe}", r"model\.causal: .*maybe"),
        ("model: {causal: null}", r"model\.causal: .*None"),
        ("optim: {betas: [1]}", r"設定 a.yaml: .*length 1.*length 2"),
        ("model: {strides: [2, two]}", r"model\.strides.*: .*two"),
        ("optim: 3", r"設定 a.yaml: optim: "),
        ("seed: {a: 1}", r"設定 a.yaml: .*seed"),
        ("optim: {lr: -1}", r"設定 a.yaml: optim.lr must be positive, got -1.0"),
        ("task: [", r"設定 a.yaml: not valid YAML: .*line"),
        ("task: a\ntask: b", r"設定 a.yaml: not valid YAML: .*task"),
        ("- task", r"設定 a.yaml: expected a mapping of keys to values"),
        ("just words", r"設定 a.yaml: unknown key 'just words'"),
        ("seed: 1", r"設定 a.yaml: .*task"),
        ("task: ${nowhere}", r"設定 a.yaml: .*nowhere"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path, text, message):
    complete = text if text.startswith(("task", "tusk", "- task", "just", "seed: 1")) else f"task: asr\n{text}"
    with pytest.raises(ConfigError, match="(?s)" + message):
        config.load(Experiment, write(tmp_path, complete))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.ler=1", r"override 'optim.ler=1': unknown key 'optim.ler'; did you mean 'optim.lr'\?"),
        ("optim.lr", r"override 'optim.lr': expected key=value"),
        ("=3", r"override '=3': expected key=value"),
        ("seed=x", r"override 'seed=x': seed: .*x"),
        ("seed.deep=1", r"override 'seed.deep=1'.*seed"),
        ("model.strides=[2", r"override 'model.strides=\[2'"),
        ("optim.lr=0", r"optim.lr must be positive, got 0.0"),
    ],
)
def test_a_mistake_in_an_override_is_named(override, message):
    with pytest.raises(ConfigError, match="(?s)" + message):
        config.load(Experiment, None, ["task=asr", override])


def test_a_missing_file_names_its_neighbours(tmp_path):
    write(tmp_path, "task: asr")
    (tmp_path / "mini.yaml").touch()
    with pytest.raises(ConfigError, match=r"minni.yaml: no such file; .* has mini.yaml, 設定 a.yaml"):
        config.load(Experiment, tmp_path / "minni.yaml")
    with pytest.raises(ConfigError, match=r"nowhere/x.yaml: no such file$"):
        config.load(Experiment, tmp_path / "nowhere" / "x.yaml")


def test_a_file_that_is_not_text_is_named(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes("task: 你好".encode("gbk"))
    with pytest.raises(ConfigError, match=r"x.yaml: not valid YAML"):
        config.load(Experiment, path)


def test_an_error_is_one_line(tmp_path):
    for text in ("task: asr\nseed: many", "tusk: asr", "task: asr\noptim: {lr: -1}", "seed: 1"):
        with pytest.raises(ConfigError) as error:
            config.load(Experiment, write(tmp_path, text))
        assert len(str(error.value).splitlines()) == 1


def test_a_refusal_without_words_is_still_a_config_error():
    with pytest.raises(ConfigError, match="Silent"):
        config.load(Silent, None, ["n=-1"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "asr", "sed": 1}, "sed.*did you mean 'seed'"),
        ({"task": "asr", "seed": "many"}, "seed"),
        ({"task": "asr", "optim": {"lr": -1}}, "optim.lr must be positive"),
        ({"seed": 1}, "task"),
    ],
)
def test_a_stored_config_is_checked_like_a_file(values, message):
    """A checkpoint of another version of the code has other keys: say so instead of guessing."""
    with pytest.raises(ConfigError, match=message) as error:
        config.from_dict(Experiment, values)
    assert "stored config" in str(error.value)


positive = st.floats(min_value=1e-12, max_value=1e12)
experiments = st.builds(
    Experiment,
    task=st.text(st.characters(codec="utf-8", exclude_characters="$\\{}", exclude_categories=["C"]), min_size=1),
    seed=st.integers(-(2**40), 2**40),
    optim=st.builds(Optim, lr=positive, warm_steps=st.integers(), decay=st.none() | positive),
    model=st.builds(
        Model, norm=st.sampled_from(["batch", "layer"]), causal=st.booleans(), strides=st.lists(st.integers())
    ),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(experiment=experiments)
def test_what_is_dumped_loads_equal(tmp_path, experiment):
    """config.yaml and the checkpoint hold the resolved config; inference starts from either."""
    config.dump(experiment, tmp_path / "config.yaml")
    from_file = config.load(Experiment, tmp_path / "config.yaml")
    stored = config.to_dict(experiment)
    from_checkpoint = config.from_dict(Experiment, stored)
    assert from_file == from_checkpoint == experiment
    assert config.digest(from_file) == config.digest(experiment)
    assert type(stored) is dict and type(stored["optim"]) is dict  # plain, as weights_only loading wants it


def test_to_dict_is_plain():
    """torch.load(weights_only=True) knows text, numbers, lists, tuples and dicts, but no class of ours."""
    stored = config.to_dict(Experiment(task="asr"))
    plain = (str, int, float, bool, type(None))

    def check(value: typing.Any):
        if isinstance(value, dict):
            for inner in value.values():
                check(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                check(inner)
        else:
            assert type(value) in plain, value

    check(stored)


def test_digest_changes_with_every_value_and_nothing_else():
    base = Experiment(task="asr")
    others = [
        Experiment(task="asr2"),
        Experiment(task="asr", seed=1),
        Experiment(task="asr", optim=Optim(lr=1.0000001e-3)),
        Experiment(task="asr", model=Model(strides=[2])),
        Experiment(task="asr", model=Model(norm="batch")),
    ]
    digests = {config.digest(each) for each in [base, *others]}
    assert len(digests) == 6
    assert config.digest(Experiment(task="asr")) == config.digest(base)
    assert all(len(digest) == 12 and int(digest, 16) >= 0 for digest in digests)


def test_loading_leaves_the_defaults_alone():
    config.load(Experiment, None, ["task=asr", "model.strides=[9]", "optim.lr=5"])
    assert Experiment(task="asr").model.strides == [2, 2]
    assert math.isclose(Experiment(task="asr").optim.lr, 1e-3)
