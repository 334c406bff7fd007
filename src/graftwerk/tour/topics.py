"""Short texts on four topics, made from patterns: data of our own for the tour."""

import csv
import io

import numpy as np

_TOPICS = {
    "kitchen": ("soup", "oven", "bread", "spoon", "recipe", "onion", "pan", "dough"),
    "garden": ("soil", "hedge", "seed", "spade", "rose", "compost", "lawn", "pond"),
    "workshop": ("drill", "plank", "glue", "screw", "bench", "saw", "varnish", "clamp"),
    "travel": ("train", "ticket", "hotel", "map", "airport", "luggage", "border", "ferry"),
}
_PATTERNS = (
    "The {a} was not where we had left it, so we took the {b}.",
    "Nobody had told us that the {a} needs a second {b}.",
    "Before the {a} comes the {b}, said the old man.",
    "She wrote a long letter about the {a} and never named the {b}.",
    "We waited an hour for the {a}; the {b} was worth it.",
)
_STRAY = 0.35  # of the texts name one thing of another topic


def topic_table(count: int, seed: int) -> str:
    """A CSV with the columns `text` and `topic`.

    Args:
        count: different texts.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    names = list(_TOPICS)
    rows: dict[str, str] = {}
    while len(rows) < count:
        topic = names[int(generator.integers(len(names)))]
        first = str(generator.choice(_TOPICS[topic]))
        stray = generator.random() < _STRAY
        other = str(generator.choice(names)) if stray else topic
        second = str(generator.choice(_TOPICS[other]))
        if first != second:
            pattern = _PATTERNS[int(generator.integers(len(_PATTERNS)))]
            rows[pattern.format(a=first, b=second)] = topic
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["text", "topic"])
    writer.writerows(rows.items())
    return buffer.getvalue()
