"""`rnnexp certify`: train the best configurations of a study again on fresh seeds, and say which is better."""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import shutil
import sys
import time
from typing import Any

import numpy as np

from rnnexp import addresses, disk
from rnnexp.analysis import answers, certainty, verdicts
from rnnexp.analysis.certainty import Certainty
from rnnexp.analysis.certification import Certification, certification
from rnnexp.commands import study_record, study_report
from rnnexp.commands.run_study import connected, prepare_data, run_study
from rnnexp.config.load import load_sweep
from rnnexp.config.names import CERTIFICATION, METRICS
from rnnexp.config.sweep import SweepConfig
from rnnexp.data import openings
from rnnexp.data.store import TokenStore, texts_depend_on_seed
from rnnexp.errors import StudyError, UserError
from rnnexp.home import Home, existing_text
from rnnexp.storage.bulk_reader import study_names
from rnnexp.storage.views import StudyView, TrialRow, view
from rnnexp.terminal import next_commands, tables
from rnnexp.trial import test_part


def run(args: argparse.Namespace) -> int:
    """Trains until the leader is decided or all seeds are used; prints the verdict, which is no failure either way."""
    home = Home.open(args.home)
    if args.metric is not None and args.metric not in METRICS:
        raise UserError(f"certify --metric: got {args.metric!r}, expected one of {', '.join(METRICS)}")
    study = _certifiable(home, args.study)
    source = load_sweep(home.study(study.name).sweep)
    tokens = prepare_data(source.base, home)
    draws_split = not texts_depend_on_seed(source.base.data)
    plan = certification(study, source, args.top, args.seeds, args.metric, draws_split=draws_split)
    command = _Command(home, plan, tokens, draws_split=draws_split)
    to_stderr = contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext()
    with to_stderr, connected(plan.config, home) as cluster:
        code = run_study(
            command.first_sweep(), home, tokens, cluster, command.show_verdict, command.show_test, command.extended
        )
    if args.json and command.record is not None:
        print(json.dumps(command.record, indent=1))
    return code


def _certifiable(home: Home, name: str) -> StudyView:
    study = view(home, name, with_runs=False)
    if study.origin is not None:
        raise StudyError(f"certify: the trials of study {name} are in {study.origin}; certify it there")
    if study.owner is not None:
        raise StudyError(f"certify: study {name} still runs, by {study.owner}; certify it when it has ended")
    if name.endswith(CERTIFICATION):
        raise StudyError(
            f"certify: {name} is itself a certification; name the study {name.removesuffix(CERTIFICATION)}"
        )
    return study


class _Command:
    """One run of the command.

    Attributes:
        record: the result as plain values, once there is one.
    """

    def __init__(self, home: Home, plan: Certification, tokens: TokenStore, *, draws_split: bool) -> None:
        self._home, self._plan, self._tokens, self._draws_split = home, plan, tokens, draws_split
        self.record: dict[str, Any] | None = None

    def first_sweep(self) -> SweepConfig:
        """Returns the sweep until the next look, or what is done already if that was decided."""
        plan = self._plan
        if plan.config.study in study_names(self._home):
            before = view(self._home, plan.config.study, with_runs=False)
            plan.check_continues(before)
            if before.n_finished:
                return self.extended(before) or plan.with_seeds(-(-before.n_finished // len(plan.candidates)))
        return plan.with_seeds(plan.looks()[0])

    def extended(self, study: StudyView) -> SweepConfig | None:
        """Returns the sweep until the next look; None if the result is decided or no seed is left."""
        plan, n_configurations = self._plan, len(self._plan.candidates)
        following = next((look for look in plan.looks() if look * n_configurations > study.n_finished), None)
        at_look = study.n_finished in [look * n_configurations for look in plan.looks()]
        result = plan.result(study) if at_look and n_configurations > 1 else None
        if following is None or (result is not None and result.is_decided):
            return None
        if result is not None:
            n_seeds = result.comparisons[0].n_seeds
            p_values = ", ".join(verdicts.p_value(one.p) for one in result.comparisons)
            tables.console().print(
                f"after {n_seeds} seeds: not decided (p {p_values}); going on to {following} seeds", soft_wrap=True
            )
        return plan.with_seeds(following)

    def show_verdict(self, study: StudyView) -> None:
        """Prints the means and the comparisons."""
        plan, console = self._plan, tables.console()
        result = plan.result(study, with_power=True)
        if result is None:
            console.print("no seed has a complete trial of every configuration", style="red")
            return
        seeds, seconds = list(plan.common_rows(study)), self._seconds(study)
        drawn = (
            "initial weights, order of the texts, dropout and the split"
            if self._draws_split
            else (
                "initial weights, order of the texts and dropout; the split stays, because the test part depends on it"
            )
        )
        console.print()
        console.print(f"{len(seeds)} seeds, each of which draws {drawn}; {plan.metric}:", soft_wrap=True)
        console.print(self._table(study, result, seconds))
        for sentence in verdicts.sentences(result, plan.names, plan.metric, seconds):
            console.print(sentence, style="bold", soft_wrap=True)
        self.record = self._as_record(study, result, seconds)

    def _seconds(self, study: StudyView) -> tuple[float, ...]:
        """Returns the mean training time of each configuration."""
        rows = list(self._plan.common_rows(study).values())
        return tuple(float(np.mean([row.duration_s for row in some])) for some in zip(*rows, strict=True))

    def _table(self, study: StudyView, result: Certainty, seconds: tuple[float, ...]) -> Any:
        plan, scores = self._plan, self._plan.scores(study)
        order = sorted(range(len(plan.candidates)), key=lambda place: -result.means[place])
        sign = 1 if METRICS[plan.metric] == "maximize" else -1
        rows = []
        for place in order:
            low, high = sorted(sign * bound for bound in certainty.interval(scores[place]))
            trials = ", ".join(str(row.number) for row in plan.candidates[place].rows)
            rows.append(
                (
                    plan.names[place],
                    trials,
                    tables.number(plan.candidates[place].value),
                    tables.number(sign * result.means[place]),
                    f"{low:.4f} to {high:.4f}",
                    tables.duration(seconds[place]),
                )
            )
        return tables.grid(("configuration", "trial", "in the study", "mean", "95%", "time"), rows)

    def _as_record(self, study: StudyView, result: Certainty, seconds: tuple[float, ...]) -> dict[str, Any]:
        plan, sign = self._plan, 1 if METRICS[self._plan.metric] == "maximize" else -1
        scores, certified = plan.scores(study), study.name.removesuffix(CERTIFICATION)
        return {
            "study": certified,
            "study_id": view(self._home, certified, with_runs=False).identity,
            "metric": plan.metric,
            "seeds": list(plan.common_rows(study)),
            "is_decided": result.is_decided,
            "leader": plan.names[result.leader],
            "configurations": [
                {
                    "name": name,
                    "trials": [row.number for row in candidate.rows],
                    "settings": candidate.settings,
                    "value_in_study": candidate.value,
                    "values": [sign * float(score) for score in scores[place]],
                    "mean": sign * result.means[place],
                    "seconds": seconds[place],
                }
                for place, (name, candidate) in enumerate(zip(plan.names, plan.candidates, strict=True))
            ],
            "comparisons": [dataclasses.asdict(one) | {"is_decided": one.is_decided} for one in result.comparisons],
            "sentences": verdicts.sentences(result, plan.names, plan.metric, seconds),
        }

    def show_test(self, study: StudyView) -> None:
        """Prints the result on the test part, which is opened once for the same models, and what to do next."""
        if self.record is None:
            return
        folder = self._home.study(study.name)
        stored = answers.load_certificate(folder.certificate)
        if stored is not None and _measured(stored) == _measured(_plain(self.record)):
            self.record["test"] = stored["test"]
        else:
            self.record["test"] = self._open_test_part(study)
        if stored != _plain(self.record):
            disk.write_text(folder.certificate, json.dumps(self.record, indent=1))
        place = self._home.tracking_server or self._home.mlflow_uri
        digest = hashlib.sha256(folder.certificate.read_bytes() + place.encode()).hexdigest()
        if existing_text(folder.certified) != digest and self._log(study):
            disk.write_text(folder.certified, digest)
        test, console = self.record["test"], tables.console()
        console.print(
            f"{self.record['leader']} on the test part of {self._tokens.name}: accuracy {test['accuracy']:.4f} "
            f"(95% over seeds and texts: {test['low']:.4f} to {test['high']:.4f}; {test['n_models']} models, "
            f"{test['n_texts']:,} texts); this home has used it {tables.count(test['openings'], 'time')}",
            soft_wrap=True,
        )
        where = next_commands.home_option(self._home)
        best = self._best_of_leader(study)
        next_commands.show(
            [
                (f"compare {study.name}{where}", "all trials of the certification"),
                (
                    f"export {study.name} --trial {best.number} --to best{where}",
                    f"write a model of {self.record['leader']} as a bundle that accepts raw text",
                ),
            ]
        )

    def _log(self, study: StudyView) -> bool:
        """Shows the certificate on both studies' pages in MLflow, and registers the leader's model as the champion.

        A failure is only printed; the next `certify` tries again.

        Returns:
            Whether MLflow has all of it.
        """
        from rnnexp.tracking.best_model import CHAMPION
        from rnnexp.tracking.projection import Projection

        assert self.record is not None
        metrics = {"test_accuracy": self.record["test"]["accuracy"], "n_seeds": float(len(self.record["seeds"]))}
        certificate = self._home.study(study.name).certificate
        try:
            now = time.time()
            Projection.open(self._home, study.name, study.identity).pages.write_run([certificate], metrics, now, now)
            certified = view(self._home, study.name.removesuffix(CERTIFICATION))
            study_report.publish(self._home, certified, now, (certificate,))
            best = self._best_of_leader(study)
            bundle = study_record.write_bundle(self._home, study, best)
            try:
                study_record.log_model(self._home, certified, best, bundle, CHAMPION)
            finally:
                shutil.rmtree(bundle, ignore_errors=True)
        except Exception as error:
            tables.console().print(
                f"MLflow could not record the certificate ({addresses.one_line(error, 240)}); it is in {certificate}, "
                "and the same command tries again",
                soft_wrap=True,
            )
            return False
        return True

    def _leader_rows(self, study: StudyView) -> list[TrialRow]:
        assert self.record is not None
        leader = self._plan.names.index(self.record["leader"])
        return [rows[leader] for rows in self._plan.common_rows(study).values()]

    def _best_of_leader(self, study: StudyView) -> TrialRow:
        sign = 1 if METRICS[self._plan.metric] == "maximize" else -1
        return max(self._leader_rows(study), key=lambda row: sign * row.metrics[self._plan.metric])

    def _open_test_part(self, study: StudyView) -> dict[str, Any]:
        rows = self._leader_rows(study)
        folders = [study.folder.trial(row.number) for row in rows]
        correct = test_part.correct(folders, self._tokens.root)
        accuracy, (low, high) = certainty.mean_over_seeds_and_texts(correct)
        about = {"study": study.name, "trials": [row.number for row in rows], "accuracy": accuracy}
        opened = openings.record(self._home, self._plan.config.base.data, self._tokens.digest, about)
        n_models, n_texts = correct.shape
        measured = {"accuracy": accuracy, "low": low, "high": high}
        return measured | {"n_models": n_models, "n_texts": n_texts, "openings": opened}


def _measured(record: dict[str, Any]) -> Any:
    """Returns what decides which models a certificate is about; names and sentences do not."""
    return record["metric"], record["seeds"], [(each["settings"], each["values"]) for each in record["configurations"]]


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """Returns a record as it is after writing and reading it."""
    plain: dict[str, Any] = json.loads(json.dumps(record))
    return plain
