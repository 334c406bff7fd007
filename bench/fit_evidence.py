"""Fit the coefficients of `rag/evidence.py` and measure the shipped calibration.

    python -m bench.fit_evidence            print coefficients and figures
    python -m bench.fit_evidence --write    also write the shipped calibration

On the question sets of `bench/fit_reading.py`. Each answerable question counts twice: with the
passages that answer it among the hits, and without, while the others stay. Both kinds of evidence
are fitted, without and with the trained reader. Figures of the fit are of each set by the
coefficients of the others.
"""

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut

from graftwerk import files
from graftwerk.library.index import Index
from graftwerk.models.encoders import CachingEncoder, load_encoder
from graftwerk.models.hub import named_by_user
from graftwerk.models.language.markup import readable
from graftwerk.models.language.reader import load_reader
from graftwerk.rag import evidence
from graftwerk.rag.citations import says
from graftwerk.search.qa_pairs import read_questions

from .fit_reading import SETS, add_sets, questions_of

RATE = 0.1  # as the default of `graft calibrate`
SOURCE = "the shipped calibration (bench/questions, English)"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fit_evidence", description=__doc__)
    parser.add_argument("--encoder", default="builtin/minilm")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--sets", type=Path, help="further ones, of bench.reader_sets")
    options = parser.parse_args()
    add_sets(options.sets)
    with named_by_user([options.encoder]):
        encoder = load_encoder(options.encoder)
    measured, answerable, titles = measure(encoder)
    for kind in (evidence.RULES, evidence.READER):
        features = measured[:, : len(evidence.COEFFICIENTS[kind])]
        if features.shape[1] == len(evidence.COEFFICIENTS[kind]):
            fit(kind, features, answerable, titles, encoder, write=options.write)


def fit(kind, features, answerable, titles, encoder, *, write):
    """Print one kind's figures and coefficients, and write its calibration."""
    print("with the trained reader" if kind == evidence.READER else "without the trained reader")
    cross = np.zeros(len(answerable))
    for seen, unseen in LeaveOneGroupOut().split(features, answerable, titles):
        model = LogisticRegression(C=3.0).fit(features[seen], answerable[seen])
        cross[unseen] = model.predict_proba(features[unseen])[:, 1]
    figures("sets not fitted on", cross, answerable, encoder, kind)

    model = LogisticRegression(C=3.0).fit(features, answerable)
    coefficients = tuple(round(float(value), 2) for value in model.coef_[0])
    intercept = round(float(model.intercept_[0]), 2)
    print(f"COEFFICIENTS = {coefficients}\nINTERCEPT = {intercept}")
    now = (evidence.COEFFICIENTS[kind], evidence.INTERCEPT[kind])
    print("as in rag/evidence.py" if now == (coefficients, intercept) else f"there: {now}")
    strengths = 1 / (1 + np.exp(-(features @ coefficients + intercept)))
    made = figures("all", strengths, answerable, encoder, kind)
    if write:
        files.write_json(evidence._SHIPPED[kind], made.model_dump())


def measure(encoder):
    """Features, label and set of every question, with and without what answers it."""
    rows, labels, groups = [], [], []
    full = CachingEncoder(load_encoder(encoder.rescorer) if encoder.rescorer else encoder)
    trained = load_reader(full)
    for name, documents in SETS.items():
        with tempfile.TemporaryDirectory() as folder, Index(f"{folder}/index") as index:
            index.add(documents)
            for question in read_questions(questions_of(name)):
                hits = readable(index.search(question.text, k=2 * evidence.EVIDENCE_HITS).hits)
                others = [hit for hit in hits if not says(hit.text, question.sentence)]
                both = ((1, hits), (0, others)) if question.answers else ((0, hits),)
                for label, found in both:
                    rows.append(evidence.find_features(question.text, found, full, trained))
                    labels.append(label)
                    groups.append(name)
    return np.array(rows), np.array(labels), np.array(groups)


def figures(name, strengths, answerable, encoder, kind):
    yes, no = strengths[answerable == 1].tolist(), strengths[answerable == 0].tolist()
    made = evidence.calibrate(yes, no, RATE, encoder, SOURCE, reader=kind == evidence.READER)
    assert math.isfinite(made.floor)
    print(
        f"{name}: AUC {made.auc:.3f}; floor {made.floor:.3f} answers {made.share_answered:.3f} of "
        f"{made.answerable} and {made.false_answer_rate:.3f} (at most {made.promised_rate:.3f}) "
        f"of {made.unanswerable}"
    )
    return made


if __name__ == "__main__":
    main()
