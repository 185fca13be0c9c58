"""Draws mixtures: which talkers, where they begin, how loud, in what noise and room.

Row i of a plan depends on the seed, the split, the set and i alone (and on the corpus): not on how many jobs there
are, on the order of files, or on other rows. Dynamic mixing is the same with the number of the epoch as one key more.
Chance is Python's generator seeded by text, which gives the same numbers on every machine.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from steps.data.held_out import share_of
from steps.data.levels import Level
from steps.data.mixture import Mixture, Noise, Source
from steps.data.mixture_config import MixtureConfig

QUIETEST = -70.0  # LUFS: what is below is silence


class Planner:
    """The mixtures of one set and split; `row` makes any of them."""

    def __init__(
        self,
        config: MixtureConfig,
        seed: int,
        kind: str,
        split: str,
        utterances: Sequence[Level],
        noises: Sequence[Level] = (),
        rooms: Sequence[str] = (),
    ):
        """`utterances` are of this split; `noises` and `rooms` are all there are, of which this split gets its share.

        Raises ValueError where there are too few talkers, or no noise or room though the configuration wants some.
        """
        self.config, self.seed, self.kind, self.split = config, seed, kind, split
        least = config.min_seconds
        fit = [level for level in utterances if level.samples >= least * level.sampling_rate and audible(level)]
        self.utterances = {level.id: level for level in sorted(fit, key=lambda level: level.id)}
        self.by_speaker: dict[str, list[str]] = defaultdict(list)
        for level in self.utterances.values():
            self.by_speaker[level.speaker].append(level.id)
        self.talkers = 1 if kind == "noisy" else config.speakers
        if len(self.by_speaker) < self.talkers:
            raise ValueError(
                f"{split} has {len(self.by_speaker)} speakers with audible utterances of {least:g} s or more; mixtures "
                f"of {self.talkers} talkers need as many (mixtures.min_seconds, mixtures.speakers)"
            )
        wants_noise = kind == "noisy" or config.noise_prob > 0
        self.noises = self._own_noises(noises) if wants_noise else {}
        self.rooms = sorted(share_of(rooms, split, "room impulse responses")) if config.room_prob > 0 else []
        self.speakers = sorted(self.by_speaker)
        self.noise_ids = sorted(self.noises)
        self.epoch: int | None = None
        self.order: list[str] = []

    def row(self, index: int, epoch: int | None = None) -> Mixture:
        """Mixture number `index` of the plan, or with an epoch another one of dynamic mixing."""
        config = self.config
        key = f"{self.seed} {self.split} {self.kind}" + ("" if epoch is None else f" {epoch}")
        rng = Random(f"{key} {index}")
        sources = self._placed(self._talkers(rng, key, index, epoch), rng, index)
        samples = max(source.offset + source.samples for source in sources)
        gains = self._gains(sources, rng)
        noise = self._noise(sources, gains, samples, rng)
        rooms = self._rooms(len(sources), rng)
        guard = self._guard(sources, gains, noise)
        name = f"{self.kind}-{self.split}-{index:06d}" + ("" if epoch is None else f"-{epoch}")
        return Mixture(
            id=name,
            kind=self.kind,
            split=self.split,
            index=index,
            sampling_rate=config.sampling_rate,
            samples=samples,
            sources=tuple(
                replace(source, gain=_digits(gain * guard), room=room)
                for source, gain, room in zip(sources, gains, rooms, strict=True)
            ),
            noise=noise and replace(noise, gain=_digits(noise.gain * guard)),
            overlap=self._overlap(sources),
            level_difference=self._difference(sources, gains),
            guard=_digits(guard),
            seed=self.seed,
        )

    def _talkers(self, rng: Random, key: str, index: int, epoch: int | None) -> list[Source]:
        """Whole utterances of different speakers, in random order.

        The first goes through all utterances in turn, in an order of the epoch; the others are drawn, speakers first.
        """
        if not self.order or self.epoch != epoch:
            self.order, self.epoch = Random(key).sample(list(self.utterances), len(self.utterances)), epoch
        names = [self.order[index % len(self.order)]]
        speakers = {self.utterances[names[0]].speaker}
        while len(names) < self.talkers:
            speaker = rng.choice(self.speakers)
            if speaker not in speakers:
                speakers.add(speaker)
                names.append(rng.choice(self.by_speaker[speaker]))
        rng.shuffle(names)
        return [self._whole(name, rng) for name in names]

    def _whole(self, name: str, rng: Random) -> Source:
        level = self.utterances[name]
        own = self.by_speaker[level.speaker]
        others = [other for other in own if other != name] if len(own) < 3 else own
        enrolment = rng.choice(others or [name])
        while enrolment == name and others:
            enrolment = rng.choice(others)
        samples = level.length(self.config.sampling_rate)
        return Source(name, level.speaker, 0, samples, 0, 1.0, enrolment=enrolment)

    def _placed(self, sources: list[Source], rng: Random, index: int) -> list[Source]:
        """The sources with the samples that are heard, and where they begin."""
        if self.kind == "noisy":
            return sources
        if self.kind == "full":
            length = min(source.samples for source in sources)
            return [replace(s, start=rng.randint(0, s.samples - length), samples=length) for s in sources]
        first, second = sources
        share = self.config.overlaps[index % len(self.config.overlaps)]
        if share == 1.0:  # the shorter one lies anywhere within the longer one
            shorter = min(sources, key=lambda source: source.samples)
            offset = rng.randint(0, abs(first.samples - second.samples))
            return [replace(source, offset=offset if source is shorter else 0) for source in sources]
        overlap = round(share * min(first.samples, second.samples))
        gap = round(rng.uniform(*self.config.gap) * self.config.sampling_rate) if share == 0.0 else 0
        return [first, replace(second, offset=first.samples - overlap + gap)]

    def _gains(self, sources: Sequence[Source], rng: Random) -> list[float]:
        config, loudness = self.config, [self.utterances[source.utterance].loudness for source in sources]
        if config.levels == "lufs":
            wanted = [rng.uniform(*config.loudness) for _ in sources]
        else:
            middle, loudest = sum(config.loudness) / 2, rng.randrange(len(sources))
            wanted = [middle - (0 if k == loudest else rng.uniform(*config.snr)) for k in range(len(sources))]
        return [10 ** ((to - _known(was)) / 20) for to, was in zip(wanted, loudness, strict=True)]

    def _noise(self, sources: Sequence[Source], gains: Sequence[float], samples: int, rng: Random) -> Noise | None:
        if not self.noises or (self.kind != "noisy" and rng.random() >= self.config.noise_prob):
            return None
        level = self.noises[rng.choice(self.noise_ids)]
        length = level.length(self.config.sampling_rate)
        start = rng.randint(0, max(0, length - samples))
        powers = [_known(self.utterances[s.utterance].power) for s in sources]
        talkers = sum(g**2 * 10 ** (p / 10) for g, p in zip(gains, powers, strict=True))
        power = 10 ** (_known(level.power) / 10)
        if self.config.noise_snr:
            snr = rng.uniform(*self.config.noise_snr[self.split])
            gain = (talkers / power / 10 ** (snr / 10)) ** 0.5
        else:
            gain = 10 ** ((rng.uniform(*self.config.noise_loudness) - _known(level.loudness)) / 20)
        return Noise(level.id, start, min(samples, length - start), gain, _ratio_db(talkers, gain**2 * power))

    def _rooms(self, talkers: int, rng: Random) -> list[str]:
        if not self.rooms or rng.random() >= self.config.room_prob:
            return [""] * talkers
        return [rng.choice(self.rooms) for _ in range(talkers)]

    def _guard(self, sources: Sequence[Source], gains: Sequence[float], noise: Noise | None) -> float:
        """What keeps the mixture below its peak even where all its parts are at theirs at once."""
        peak = sum(g * self.utterances[s.utterance].peak for s, g in zip(sources, gains, strict=True))
        if noise is not None:
            peak += noise.gain * self.noises[noise.recording].peak
        return min(1.0, self.config.peak / peak)

    def _difference(self, sources: Sequence[Source], gains: Sequence[float]) -> float:
        if len(sources) < 2:
            return 0.0
        powers = [10 ** (_known(self.utterances[s.utterance].power) / 10) for s in sources[:2]]
        return _ratio_db(gains[0] ** 2 * powers[0], gains[1] ** 2 * powers[1])

    def _overlap(self, sources: Sequence[Source]) -> float:
        if len(sources) < 2:
            return 0.0
        ends = [source.offset + source.samples for source in sources]
        both = min(ends) - max(source.offset for source in sources)
        return round(max(0, both) / min(source.samples for source in sources), 4)

    def _own_noises(self, noises: Sequence[Level]) -> dict[str, Level]:
        heard = [level for level in noises if audible(level)]
        own = share_of({level.recording for level in heard}, self.split, "noise recordings")
        return {level.id: level for level in heard if level.recording in own}


def audible(level: Level) -> bool:
    """Whether there is anything to hear, and to measure."""
    return level.loudness is not None and level.power is not None and level.loudness > QUIETEST


def _ratio_db(upper: float, lower: float) -> float:
    return round(10 * math.log10(upper / lower), 2)


def _known(value: float | None) -> float:
    assert value is not None, "utterances and noises that cannot be measured are left out"
    return value


def _digits(value: float) -> float:
    """Six significant digits: the same text for the same value, whatever the machine's logarithms."""
    return float(f"{value:.6g}")
