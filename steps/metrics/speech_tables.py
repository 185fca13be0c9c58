"""Results of separation and enhancement as text: the end of a run, and its part of RESULTS.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steps.metrics import tables
from steps.metrics.speech_scores import CLEAN, MIXTURE
from steps.metrics.tables import plain

Results = Mapping[str, Any]

# Metric, title, decimal places; "interval" is that of the improvement before it.
COLUMNS = (
    ("si_sdr", "SI-SDR dB", 2), ("si_sdri", "SI-SDRi dB", 2), ("interval", "95 % interval", 2), ("sdr", "SDR dB", 2),
    ("sdri", "SDRi dB", 2), ("pesq_wb", "PESQ wb", 2), ("pesq_nb", "PESQ nb", 2), ("stoi", "STOI", 3),
    ("estoi", "ESTOI", 3), ("dnsmos_sig", "DNSMOS SIG", 2), ("dnsmos_bak", "BAK", 2), ("dnsmos_ovr", "OVRL", 2),
    ("leak", "leak dB", 1), ("cp_cer", "cpCER %", 2), ("cer", "CER %", 2),
)  # fmt: skip
BUCKET_COLUMNS = ("si_sdr", "si_sdri", "interval", "pesq_wb", "pesq_nb", "stoi", "leak", "cp_cer", "cer")
SIDES = {
    "overlap": "by overlap of the talkers",
    "level": "by level of a talker against the other",
    "snr": "by SNR of the mixture",
}


def summary(results: Results, path: Path) -> str:
    """The tables that a run ends with."""
    systems = results["systems"]
    parts = [f"{results['corpus']} {results['split']} at {results['sampling_rate']} Hz: {_sizes(systems)}"]
    columns = _present(systems)
    rows = [["set", "signal", *(title for _, title, _ in columns)]]
    for system in systems:
        rows += [[*named, *cells] for named, cells in _signals(system, columns)]
    parts.append(plain(rows))
    for system in systems:
        parts += [f"{system['name']}, {SIDES[side]}:\n{plain(matrix(system, side))}" for side in system["buckets"]]
        parts += _notes(system)
    return "\n\n".join([*parts, f"results: {path}"]) + "\n"


def matrix(system: Mapping[str, Any], side: str) -> list[list[str]]:
    """The buckets of one kind as rows of text: of the mixture and of what became of it."""
    rows = system["buckets"][side]
    names = [column for column in _present([system]) if column[0] in BUCKET_COLUMNS]
    head = [side, "mixtures"]
    for name, title, _ in names:
        head += [f"{title} before", title] if name + MIXTURE in system["metrics"] else [title]
    found = [head]
    for row in rows:
        cells = [row["name"], str(row["mixtures"])]
        for column in names:
            if column[0] + MIXTURE in system["metrics"]:
                cells.append(_cell(row["metrics"], column, MIXTURE))
            cells.append(_cell(row["metrics"], column, ""))
        found.append(cells)
    return found


def results_page(runs: Sequence[tuple[Path, Results]]) -> str:
    """RESULTS.md of runs of separation or enhancement: see `steps.metrics.tables.results_page`."""
    return tables.results_page(runs, _systems, _details)


def _systems(runs: Sequence[Results]) -> list[str]:
    """A row for each signal of each set of each run, in Markdown."""
    columns = _present([system for results in runs for system in results["systems"]])
    rows = [["run", "model", "corpus", "Hz", "set", "signal", *(title for _, title, _ in columns), "RTF"]]
    for results in runs:
        named = [results["exp"], results["architecture"], results["corpus"], str(results["sampling_rate"])]
        for system in results["systems"]:
            factor = system["metrics"].get("rtf")
            for (name, signal), cells in _signals(system, columns):
                made = factor and signal == _output(system)
                speed = f"{factor['value']:.4f}" if made else "-"
                rows.append([*named, name or system["name"], signal, *cells, speed])
    return tables.markdown(rows, left=6)


def _details(results: Results) -> list[str]:
    """What a run's table says besides: sizes, intervals, what is not in the means, and buckets."""
    systems = results["systems"]
    mean = "without their means" if results["zero_mean"] else "with their means"
    said = [f"{_sizes(systems)}. SI-SDR is of signals {mean}; PESQ, STOI and SDR are of pesq, pystoi, torchmetrics."]
    for system in systems:
        said += [" ".join(_notes(system)).replace("\n", " ")]
    if results.get("recogniser"):
        said.append(f"CER is that of `{results['recogniser']}`, greedy search.")
    lines = [" ".join(part for part in said if part)]
    for system in systems:
        for side in system["buckets"]:
            lines += ["", f"{system['name']}, {SIDES[side]}:", "", *tables.markdown(matrix(system, side), left=1)]
    return lines


def _present(systems: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    """The columns that any of the systems has a value for."""
    names = {name for system in systems for name in system["metrics"]}
    return [column for column in COLUMNS if column[0] in names or (column[0] == "interval" and "si_sdri" in names)]


def _signals(
    system: Mapping[str, Any], columns: Sequence[tuple[str, str, int]]
) -> list[tuple[tuple[str, str], list[str]]]:
    """Name and cells of each signal of a set: what went in, what came out, and with a recogniser the clean speech."""
    metrics = system["metrics"]
    signals = [("mixture" if system["talkers"] > 1 else "noisy", MIXTURE), (_output(system), "")]
    signals += [("clean", CLEAN)] if "cer" + CLEAN in metrics else []
    names = [system["name"], *[""] * (len(signals) - 1)]
    return [
        ((name, title), [_cell(metrics, column, ending) for column in columns])
        for name, (title, ending) in zip(names, signals, strict=True)
    ]


def _output(system: Mapping[str, Any]) -> str:
    return "separated" if system["talkers"] > 1 else "enhanced"


def _cell(metrics: Mapping[str, Any], column: tuple[str, str, int], ending: str) -> str:
    name, _, places = column
    key = "si_sdri" if name == "interval" else name
    if key + ending not in metrics:
        return "-"
    metric = metrics[key + ending]
    if name == "interval":
        return f"{metric['low']:.{places}f}..{metric['high']:.{places}f}"
    return f"{metric['value']:.{places}f}"


def _sizes(systems: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(f"{s['name']}: {s['mixtures']:,} mixtures, {tables.duration(s['seconds'])}" for s in systems)


def _notes(system: Mapping[str, Any]) -> list[str]:
    """What its intervals are of, what it took, and which values are missing from its means."""
    boot, name = system["bootstrap"], system["name"]
    notes = [f"{name}: intervals by bootstrap over {boot['groups']} {boot['by']}s, {boot['resamples']:,} draws."]
    if "rtf" in system["metrics"]:
        notes[0] += f" Real-time factor {system['metrics']['rtf']['value']:.4f}."
    if system["processing"].get("recogniser") and system["transcribed"] < system["mixtures"]:
        notes[0] += f" CER of the {system['transcribed']:,} mixtures whose utterances are whole."
    if system["undefined"]:
        reasons = (
            f"{metric} {sum(found.values())} ({', '.join(f'{reason} {count}' for reason, count in found.items())})"
            for metric, found in system["undefined"].items()
        )
        notes.append(f"{name}: not in the means: {'; '.join(reasons)}.")
    return notes
