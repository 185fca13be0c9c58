"""Separation of recordings of any length: overlapping windows, whose outputs are put in order, levelled and joined.

Order: the outputs of a window are compared with those before in the samples that both have. Where nobody speaks there,
each output is compared with the voice that each stream has had so far.

Level: networks trained with a scale-invariant loss put out any level, one talker another than the next, this window
another than the last. So the gains of each window are those with which its outputs add up to its mixture, in the least
squares sense, and go on from the window before. (One set of gains for a file would need outputs of the same level in
all windows.) With a single output, that of a talker who was asked for, this would make a faint leak as loud as the
mixture wherever that talker is silent; there the windows stay as they are, and one gain is chosen for the file.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from steps.data.enrolment import Enrolments
from steps.data.mixture import read_plan
from steps.inference.config import SeparateConfig
from steps.inference.cost import Stopwatch
from steps.inference.device import pick_device
from steps.inference.long_audio import Sound, conversion_stats, convert
from steps.models.separators import CONDITIONED
from utils import config as config_file

RIDGE, LARGEST_RIDGE = 1e-3, 1e-2  # of the strongest output's energy, see `levels`
AUDIBLE = 1e-2  # of the usual power, 20 dB down: an overlap with less says the less about who is who
FAINT = 1e-3  # of the usual power: a frame with less is not speech
BANDS = 32  # of a voice's profile, mel
LOWEST = 1e-4  # of a frame's power: bands with less are empty
NEW_VOICE = (
    5.0  # dB between profiles, root mean square: a voice that is nearer to one heard before is taken for that one
)
VOICE_WEIGHT = (
    0.1  # of a voice that differs by NEW_VOICE, against 1 for an overlap in which the talkers are told apart completely
)
FEW_FRAMES = 20  # of 16 ms each, by which a voice is half known
MEMORY = 4000  # frames that a profile is the mean of, about one minute


class Separation:
    """One model on one device, for files."""

    def __init__(
        self,
        checkpoint: Path,
        device: str,
        overrides: Sequence[str] = (),
        enrolment: Path | None = None,
        speaker_model: Path | None = None,
        planned: "PlannedVoices | None" = None,
    ):
        """Talkers are told to a model that extracts one by a recording, or for the mixtures of a plan by `planned`.

        Raises ValueError for a model that needs an enrolment and has none, or the other way round.
        """
        from steps.tasks.separation import load_separator

        self.device = pick_device(device)
        self.model, trained = load_separator(checkpoint, self.device)
        self.config = config_file.override(trained, overrides)
        self.rate: int = self.config.mixtures.sampling_rate
        self.checkpoint, self.watch, self.seconds = checkpoint, Stopwatch(), 0.0
        self.turned_down: dict[str, float] = {}
        architecture = self.config.model.architecture
        told = enrolment is not None or planned is not None
        if (architecture in CONDITIONED) != told:
            raise ValueError(
                f"{checkpoint} is a {architecture}: "
                + ("it extracts one talker; give a recording of him with --enrolment and the --speaker-model it was "
                   "trained with" if not told else "it separates all talkers; leave --enrolment out")
            )  # fmt: skip
        self.planned = planned
        self.embedding: Tensor | None = None
        if enrolment is not None:
            assert speaker_model is not None
            self.embedding = enrolment_embedding(enrolment, speaker_model, self.device)

    def run(self, sound: Sound, folder: Path, subtype: str = "FLOAT") -> None:
        """Writes folder/<stem>_1.wav, <stem>_2.wav ...: see `steps.inference.long_audio.convert`."""
        if self.planned is None:
            self._convert(sound, folder, subtype, first=1)
        else:
            for number, embedding in enumerate(self.planned.of(sound.path.stem), start=1):
                self.embedding = embedding.to(self.device)
                self._convert(sound, folder, subtype, first=number)
        self.seconds += sound.seconds

    def _convert(self, sound: Sound, folder: Path, subtype: str, first: int) -> None:
        """One pass over the file, whose outputs are numbered from `first` on."""
        joiner = Joiner(self.config.separate, self.rate, self._estimate, str(sound.path))

        def target(stream: int) -> Path:
            return folder / f"{sound.path.stem}_{first - 1 + stream}.wav"

        with self.watch.time("all"):
            turned = convert(sound, self.rate, joiner.run, target, subtype, joiner.gain)
        if turned:
            self.turned_down[sound.path.name] = round(turned, 2)

    @torch.inference_mode()
    def _estimate(self, mixtures: Tensor) -> Tensor:
        """(N, T) -> (N, S, T), on the CPU."""
        with self.watch.time("network"):
            mixtures = mixtures.to(self.device)
            if self.embedding is None:
                return self.model(mixtures).float().cpu()
            return self.model(mixtures, self.embedding.expand(len(mixtures), -1)).float().cpu()

    def stats(self) -> dict[str, Any]:
        """JSON-able: seconds of audio and of work, device, memory, parameters; by file, dB that PCM turned it down."""
        measured = conversion_stats(self.model, self.device, self.watch, self.seconds)
        return {**measured, "checkpoint": str(self.checkpoint), "turned_down": self.turned_down}


class PlannedVoices:
    """The embeddings of the enrolments that a plan names, for each talker of its mixtures."""

    def __init__(self, plan: Path, enrolments: Path):
        self.mixtures = {mixture.id: mixture for mixture in read_plan(plan).mixtures}
        sources = [source for mixture in self.mixtures.values() for source in mixture.sources]
        speakers = {id: source.speaker for source in sources for id in (source.utterance, source.enrolment)}
        self.plan, self.enrolments = plan, Enrolments(enrolments, speakers)

    def of(self, id: str) -> list[Tensor]:
        """(1, E) for each talker, in the plan's order. Raises ValueError for a mixture that is not in the plan."""
        if id not in self.mixtures:
            raise ValueError(f"{id} is not a mixture of {self.plan}, which says who talks; give the plan's own audio")
        return [self.enrolments.embedding(source.enrolment).unsqueeze(0) for source in self.mixtures[id].sources]


def enrolment_embedding(path: Path, speaker_model: Path, device: torch.device) -> Tensor:
    """(1, E) of length 1 of a recording of one talker, by a model of the speaker recipe.

    Raises OSError or ValueError for a recording that cannot be read, or has no speech.
    """
    from steps.backend.recording import listen
    from steps.data.features import make_extractor
    from steps.models.speaker import embed
    from steps.tasks.speaker import load_speaker_model

    model, config = load_speaker_model(speaker_model, device)
    heard = listen(path, make_extractor(config.features)).near_speech().unsqueeze(0)
    vector = embed(model, heard, torch.tensor([heard.shape[1]]))
    if not (torch.isfinite(vector).all() and vector.any()):
        raise ValueError(f"{path}: its embedding is zero or not finite; look at the audio, and at {speaker_model}")
    return torch.nn.functional.normalize(vector).to(device)


def windows(blocks: Iterable[Tensor], size: int, overlap: int) -> Iterator[tuple[int, Tensor]]:
    """Blocks (t,) -> (start, window (size,)), neighbours sharing `overlap` samples.

    The last window ends with the last sample and shares more with its neighbour, so that it is as long as any other:
    a network hears too little in a short rest. Only what is shorter than `size` as a whole gives a shorter window.
    """
    hop, start, before = size - overlap, 0, torch.zeros(0)
    held = torch.zeros(0)
    for block in blocks:
        held = torch.cat([held, block])
        while len(held) > size:
            yield start, held[:size]
            before, held, start = held[:hop], held[hop:], start + hop
    missing = min(size - len(held), len(before))
    if len(held):
        yield start - missing, torch.cat([before[len(before) - missing :], held])


def levels(mixture: Tensor, outputs: Tensor, before: Tensor | None = None) -> Tensor:
    """Outputs (S, T) times the gains with which they add up to a mixture (T,): argmin_a |x - sum_i a_i s_i|^2.

    A gain is negative where the network turned a talker's sign over. Where outputs are nearly copies of one another
    (one talker speaks, and leaks into the others' outputs) their sum says little about the single gains. Then the
    streams decide of which the first samples of the outputs are the continuation, `before` (S, t): |y_i - a_i s_i|^2
    is added. Without them, and where they are silent, the gains are small and in the ratio of the outputs.
    """
    s, x = outputs.double(), mixture.double()
    gram, wanted = s @ s.T, s @ x
    energies = gram.diagonal().clone()
    if not energies.max() > 0:
        return outputs
    norms = energies.clamp(min=1e-12 * float(energies.max())).sqrt()
    alike = gram / torch.outer(norms, norms) + 1e-6 * torch.eye(len(gram))
    # How little each is told from the others (the inflation of its gain's variance): 0 where it is unlike them all.
    inflation = (torch.linalg.inv(alike).diagonal() - 1).clamp(min=0)
    ridge = energies.max() * (RIDGE * inflation.square()).clamp(1e-12, LARGEST_RIDGE)
    if before is not None:
        y, start = before.double(), s[:, : before.shape[1]]
        gram = gram + torch.diag(start.square().sum(dim=1))
        wanted = wanted + (y * start).sum(dim=1) + ridge
    gains = torch.linalg.solve(gram + torch.diag(ridge), wanted)
    return outputs * gains.float().unsqueeze(1)


class Joiner:
    """The windows of one file become streams. `estimate`: mixtures (N, T) -> outputs (N, S, T)."""

    def __init__(self, config: SeparateConfig, rate: int, estimate: Any, name: str = "the mixture"):
        self.size, self.overlap = round(config.window_seconds * rate), round(config.overlap_seconds * rate)
        if not 0 < self.overlap < self.size:
            raise ValueError(f"separate.overlap_seconds={config.overlap_seconds:g} is no sample at {rate} Hz")
        self.batch, self.rate, self.estimate, self.name = config.batch, rate, estimate, name
        ramp = (torch.arange(self.overlap) + 0.5) / self.overlap
        self.rise = torch.sin(ramp * torch.pi / 2).square()  # and its mirror image add up to 1
        self.products = np.zeros(2)  # of a single stream with the mixture, and with itself

    def run(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Blocks (t,) of the mixture -> blocks (S, t), of as many samples in all.

        Raises ValueError where the outputs are not finite numbers.
        """
        voices: Voices | None = None
        before, end = torch.zeros(0), 0
        for start, mixture, outputs in self._separated(blocks):
            if len(outputs) > 1:
                outputs = levels(mixture, outputs)
            if voices is None:
                voices, ready = Voices(len(outputs), self.rate), 0
            else:
                shared = end - start  # at least the overlap
                outputs = outputs[voices.order(before[:, -shared:], outputs)]
                if len(outputs) > 1:
                    outputs = levels(mixture, outputs, before[:, -shared:])
                fading = slice(shared - self.overlap, shared)
                outputs[:, fading] = self.rise * outputs[:, fading] + self.rise.flip(0) * before[:, -self.overlap :]
                ready = fading.start
            voices.remember(outputs)
            before, end, rest = outputs, start + len(mixture), mixture
            last = max(ready, len(mixture) - self.overlap)
            yield self._counted(outputs[:, ready:last], mixture[ready:last])
        yield self._counted(before[:, last:], rest[last:])

    def gain(self) -> float:
        """1 for several streams; for one the least-squares gain of the whole file: <x, s> / <s, s>."""
        with_mixture, with_itself = self.products
        return float(with_mixture / with_itself) if with_itself > 0 else 1.0

    def _counted(self, outputs: Tensor, mixture: Tensor) -> Tensor:
        if len(outputs) == 1:
            self.products += [float(outputs[0] @ mixture), float(outputs[0].square().sum())]
        return outputs

    def _separated(self, blocks: Iterable[Tensor]) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(start, mixture (T,), outputs (S, T)) of the windows, `batch` at a time."""
        group: list[tuple[int, Tensor]] = []
        for window in windows(blocks, self.size, self.overlap):
            group.append(window)
            if len(group) == self.batch:
                yield from self._estimated(group)
                group = []
        if group:
            yield from self._estimated(group)

    def _estimated(self, group: list[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor, Tensor]]:
        outputs = self.estimate(torch.stack([mixture for _, mixture in group]))
        for (start, mixture), streams in zip(group, outputs, strict=True):
            if not torch.isfinite(streams).all():
                span = f"{start / self.rate:.2f} to {(start + len(mixture)) / self.rate:.2f} s"
                raise ValueError(f"{self.name}: what the model makes of {span} is not finite; look at the model")
            yield start, mixture, streams


class Voices:
    """Who speaks in which of S streams: the profile of each, and how loud the recording usually is.

    A profile (F,) is the mean mel spectrum in dB of the frames in which a stream is active, less its mean over bands.
    """

    def __init__(self, streams: int, rate: int):
        self.length = 1 << round(math.log2(rate * 0.032))
        self.window = torch.hann_window(self.length)
        self.banks = melscale_fbanks(self.length // 2 + 1, 50.0, rate / 2, BANDS, rate, mel_scale="slaney")
        self.profiles, self.frames = torch.zeros(streams, BANDS), torch.zeros(streams)
        self.power = 0.0  # per sample, of all streams together where they are loud

    def order(self, before: Tensor, outputs: Tensor) -> list[int]:
        """Which of `outputs` (S, T) goes on with which stream, of which `before` (S, t) are the samples that overlap.

        The correlation is weighted by energy, so that what is left of others in a silent output has no say; where all
        are silent it is small beside the distance of voices.
        """
        after = outputs[:, : before.shape[1]]
        usual = AUDIBLE * self.power * before.shape[1]
        scale = max(float(before.norm() * after.norm()), usual, 1e-30)
        score = (before @ after.T) / scale - VOICE_WEIGHT * self._distances(outputs)
        return linear_sum_assignment(score.numpy(), maximize=True)[1].tolist()

    def remember(self, outputs: Tensor) -> None:
        """Learns from a window's outputs (S, T) in the order of the streams."""
        spectra, loud = self._spectra(outputs)
        if loud > FAINT * self.power:
            self.power = max(loud, 0.9 * self.power + 0.1 * loud)
        profiles, frames = self._profiles(spectra)
        total = self.frames + frames
        share = (frames / total.clamp(min=1)).unsqueeze(1)
        self.profiles = (1 - share) * self.profiles + share * profiles
        self.frames = total.clamp(max=MEMORY)

    def _distances(self, outputs: Tensor) -> Tensor:
        """(S streams, S outputs): 0 for equal voices, 1 where their profiles differ by NEW_VOICE, less than 2 for any.

        1 too for a stream that nobody has spoken in, and for an output in which nobody speaks; after a few frames
        it is between.
        """
        profiles, frames = self._profiles(self._spectra(outputs)[0])
        apart = (self.profiles.unsqueeze(1) - profiles.unsqueeze(0)).square().mean(dim=2).sqrt()
        fewer = torch.minimum(self.frames.unsqueeze(1), frames.unsqueeze(0))
        return 1 + fewer / (fewer + FEW_FRAMES) * (2 * apart / (apart + NEW_VOICE) - 1)

    def _spectra(self, outputs: Tensor) -> tuple[Tensor, float]:
        """Power spectra (S, B, K) per sample, and that of the loud tenth of the frames, of all streams together."""
        frames = torch.stft(
            *(outputs, self.length, self.length // 2), window=self.window, pad_mode="constant", return_complex=True
        )  # fmt: skip
        spectra = frames.abs().square() / (self.length * self.window.square().sum() / 2)
        return spectra, float(spectra.sum(dim=(0, 1)).quantile(0.9))

    def _profiles(self, spectra: Tensor) -> tuple[Tensor, Tensor]:
        """(S, F) and the number of frames (S,) that each is the mean of: those in which the stream is not faint, and
        not what another leaves in it."""
        power = spectra.sum(dim=1)  # (S, K)
        active = (power > FAINT * self.power) & (power > 0.1 * power.sum(dim=0)) & (power > 0)
        mel = torch.einsum("sbk,bf->sfk", spectra, self.banks)
        decibels = 10 * torch.log10(mel + LOWEST * power.unsqueeze(1) + 1e-30)
        decibels = decibels - decibels.mean(dim=1, keepdim=True)
        count = active.sum(dim=1).float()
        mean = (decibels * active.unsqueeze(1)).sum(dim=2) / count.clamp(min=1).unsqueeze(1)
        return mean, count
