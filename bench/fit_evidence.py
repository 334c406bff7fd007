"""Fit the coefficients of `steer/evidence.py` and measure the shipped calibration.

    python -m bench.fit_evidence PARAGRAPHS.json            print coefficients and figures
    python -m bench.fit_evidence PARAGRAPHS.json --write    also write the shipped calibration

PARAGRAPHS.json: a list of {title, text, questions} as `graft eval answers` reads it; ours was
XQuAD, English. Each question counts twice: with its own paragraph among the hits, and without,
while other paragraphs of the same article stay. Figures of the fit are from articles that it did
not see (five folds by title).
"""

import argparse
import json
import math
import tempfile
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from graftwerk import files
from graftwerk.library.index import Index
from graftwerk.models.encoders import CachingEncoder, load_encoder
from graftwerk.models.hub import named_by_user
from graftwerk.rag import evidence
from graftwerk.rag import evidence as calibration
from graftwerk.search.qa_pairs import build_index, document_path, read_paragraphs
from graftwerk.types import Silent

RATE = 0.1  # as the default of `graft calibrate`
SOURCE = "the shipped calibration (XQuAD, English)"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fit_evidence", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--encoder", default="builtin/minilm")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with named_by_user([options.encoder]):
        encoder = load_encoder(options.encoder)
    features, answerable, titles = measure(options.file, encoder)

    cross = np.zeros(len(answerable))
    for seen, unseen in GroupKFold(5).split(features, answerable, titles):
        model = LogisticRegression(C=100.0).fit(features[seen], answerable[seen])
        cross[unseen] = model.predict_proba(features[unseen])[:, 1]
    figures("articles not fitted on", cross, answerable, encoder)

    model = LogisticRegression(C=100.0).fit(features, answerable)
    coefficients = tuple(round(float(value), 2) for value in model.coef_[0])
    intercept = round(float(model.intercept_[0]), 2)
    print(f"COEFFICIENTS = {coefficients}\nINTERCEPT = {intercept}")
    now = (evidence.COEFFICIENTS, evidence.INTERCEPT)
    print("as in steer/evidence.py" if now == (coefficients, intercept) else f"there: {now}")
    strengths = 1 / (1 + np.exp(-(features @ coefficients + intercept)))
    made = figures("all", strengths, answerable, encoder)
    if options.write:
        files.write_json(calibration._SHIPPED, made.model_dump())


def measure(path, encoder):
    """Features, label and article of every question, with and without its paragraph."""
    titles = [item.get("title", number) for number, item in enumerate(json.loads(path.read_text()))]
    paragraphs = read_paragraphs(path)
    rows, labels, articles = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "index"
        build_index(folder, paragraphs, encoder, None, Silent())
        reader = CachingEncoder(load_encoder(encoder.rescorer) if encoder.rescorer else encoder)
        with Index(folder) as index:
            for number, paragraph in enumerate(paragraphs):
                own = document_path(folder, number)
                for question in paragraph.questions:
                    hits = index.search(question.text, k=3 * evidence.EVIDENCE_HITS).hits
                    others = [hit for hit in hits if hit.path != own]
                    for label, found in ((1, hits), (0, others)):
                        rows.append(evidence.find_features(question.text, found, reader))
                        labels.append(label)
                        articles.append(titles[number])
    return np.array(rows), np.array(labels), np.array(articles)


def figures(name, strengths, answerable, encoder):
    yes, no = strengths[answerable == 1].tolist(), strengths[answerable == 0].tolist()
    made = calibration.calibrate(yes, no, RATE, encoder, SOURCE)
    assert math.isfinite(made.floor)
    print(
        f"{name}: AUC {made.auc:.3f}; floor {made.floor:.3f} answers {made.share_answered:.3f} of "
        f"{made.answerable} and {made.false_answer_rate:.3f} (at most {made.promised_rate:.3f}) "
        f"of {made.unanswerable}"
    )
    return made


if __name__ == "__main__":
    main()
