"""Results of speaker recognition as text: the end of a run, and its part of RESULTS.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steps.metrics import tables
from steps.metrics.tables import plain

Results = Mapping[str, Any]


def summary(results: Results, path: Path) -> str:
    """The tables that a run ends with."""
    trials, priors = results["trials"], _priors(results)
    parts = [
        f"{results['corpus']} {results['split']}: {trials['models']} models, {trials['tests']} tests, "
        f"{trials['targets']} target and {trials['nontargets']} non-target trials",
        plain([_head(priors), *(_row(system, priors) for system in results["systems"])]),
        f"chosen on dev: {results['chosen']}",
    ]
    parts += _thresholds(results["thresholds"])
    if results["open_set"]:
        parts += ["identification among unknown voices (dir: found and accepted, at that share of unknown accepted):"]
        parts += [plain(_identification(results["open_set"]))]
    parts += ["EER % by seconds of enrolment (down) and test (across):", plain(matrix(results["durations"], "seconds"))]
    if results["genres"]:
        parts += ["EER % by genre of enrolment (down) and test (across):", plain(matrix(results["genres"], None))]
    rtf = results["rtf"]
    costs = ", ".join(f"{kind} {rtf[kind]:.5f}" for kind in ("features", "network"))
    parts += [f"real-time factor with {results['threads']} threads: {costs}"]
    return "\n\n".join([*parts, f"results: {path}"]) + "\n"


def matrix(found: Mapping[str, Any], both: str | None) -> list[list[str]]:
    """A matrix of rates as rows of text; `both` is the key that names rows and columns alike."""
    rows, columns = (found[both], found[both]) if both else (found["enrolment"], found["test"])
    named = [["", *map(_name, columns)]]
    for name, rates in zip(rows, found["eer"], strict=True):
        named.append([_name(name), *("-" if rate is None else f"{rate:.2f}" for rate in rates)])
    return named


def results_page(runs: Sequence[tuple[Path, Results]]) -> str:
    """RESULTS.md of runs of speaker recognition: see `steps.metrics.tables.results_page`."""
    return tables.results_page(runs, _systems, _details)


def _systems(runs: Sequence[Results]) -> list[str]:
    """A row for each system of each run, in Markdown; every run is measured at the first one's priors."""
    priors = _priors(runs[0])
    rows = [["run", "extractor", "corpus", *_head(priors)]]
    for results in runs:
        named = [results["exp"], results["architecture"], results["corpus"]]
        rows += [[*named, *_row(system, priors)] for system in results["systems"]]
    return tables.markdown(rows, left=4)


def _details(results: Results) -> list[str]:
    """What a run's tables say besides: the choice, identification, durations, genres, costs."""
    boot, rtf, trials = results["bootstrap"], results["rtf"], results["trials"]
    said = (
        f"{trials['models']} models, {trials['tests']} tests: {trials['targets']:,} target and "
        f"{trials['nontargets']:,} non-target trials. Intervals: bootstrap over {boot['groups']} speakers, "
        f"{boot['resamples']:,} draws. Chosen on dev: {results['chosen']}, which what follows is of. Real-time factor "
        f"of {results['threads']} threads on {results['device']}: features {rtf['features']:.5f}, network "
        f"{rtf['network']:.5f}."
    )
    lines = [said, "", "EER % by seconds of enrolment (down) and test (across):", ""]
    lines += tables.markdown(matrix(results["durations"], "seconds"), left=1)
    if results["genres"]:
        lines += ["", "EER % by genre of enrolment (down) and test (across):", ""]
        lines += tables.markdown(matrix(results["genres"], None), left=1)
    if results["open_set"]:
        lines += ["", "Identification among unknown voices:", ""]
        lines += tables.markdown(_identification(results["open_set"]), left=1)
    return lines


def _head(priors: Sequence[str]) -> list[str]:
    head = ["system", "EER %", "95 % interval"]
    head += [f"minDCF {prior}" for prior in priors] + [f"actDCF {prior}" for prior in priors]
    return [*head, "Cllr", "ACC %", "EER % joined", "dev EER %"]


def _row(system: Mapping[str, Any], priors: Sequence[str]) -> list[str]:
    metrics = system["metrics"]
    eer, joined = metrics["eer"], metrics.get("eer_joined")
    return [
        system["name"],
        f"{eer['value']:.2f}",
        f"{eer['low']:.2f}-{eer['high']:.2f}" if "low" in eer else "-",
        *(f"{metrics[f'min_dcf_{prior}']['value']:.4f}" for prior in priors),
        *(f"{metrics[f'act_dcf_{prior}']['value']:.4f}" for prior in priors),
        f"{metrics['cllr']['value']:.3f}",
        f"{metrics['accuracy']['value']:.2f}",
        f"{joined['value']:.2f}" if joined else "-",
        f"{system['dev']['metrics']['eer']['value']:.2f}",
    ]


def _thresholds(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    table = [["FAR %", "threshold", "FRR %", "non-target trials", ""]]
    for row in rows:
        known = row["threshold"] is not None
        table.append(
            [
                f"{100 * row['target_far']:g}", f"{row['threshold']:.3f}" if known else "-",
                f"{100 * row['frr']:.2f}" if known else "-", str(row["nontargets"]),
                "" if row["supported"] else "too few trials to rely on",
            ]
        )  # fmt: skip
    return ["thresholds (natural-log likelihood ratio) that dev gives for a false acceptance rate:", plain(table)]


def _identification(sizes: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    fpirs = list(sizes[0]["dir"])
    rows = [["gallery", "rank-1 %", *(f"dir % at {100 * float(fpir):g} %" for fpir in fpirs)]]
    for size in sizes:
        rates = (size["dir"][fpir] for fpir in fpirs)
        rows.append([str(size["gallery"]), f"{size['rank1']:.1f}", *("-" if r is None else f"{r:.1f}" for r in rates)])
    return rows


def _priors(results: Results) -> list[str]:
    names = results["systems"][0]["metrics"]
    return [name.removeprefix("min_dcf_") for name in names if name.startswith("min_dcf_") and name.count("_") == 2]


def _name(value: Any) -> str:
    return "all" if value is None else str(value)
