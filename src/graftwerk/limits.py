"""Every limit in one table; each is checked before memory is taken for what it limits.

Sizes are in bytes unless the name says otherwise.
"""

from pathlib import Path

from .errors import LimitExceeded

MIB = 1024 * 1024

TEXT_FILE = 50 * MIB
TEXT_LINES = 5_000_000
IMAGE_FILE = 64 * MIB
IMAGE_PIXELS = 50_000_000
IMAGE_SIDE = 16_384  # pixels
PDF_FILE = 256 * MIB
PDF_PAGES = 2_000
DOCUMENT_TEXT = 20 * MIB  # what one parsed document may unfold to
DOCUMENT_BLOCKS = 1_000_000  # paragraphs or rows of one document
ZIP_ENTRIES = 2_000
ZIP_UNPACKED = 200 * MIB
ZIP_RATIO = 200  # unpacked over packed
XML_PART = 64 * MIB  # one part of a zip-based document, unpacked
PARSER_MEMORY = 1024 * MIB
PARSER_SECONDS = 30.0
JSON_FILE = 64 * MIB  # configurations and question files
MODEL_TEXT = 256 * MIB  # a tokenizer or another text of a model's folder
MODEL_DEPTH = 4  # folders of a model inside each other
QUESTION_CHARACTERS = 10_000
REPLY_CHARACTERS = 200_000  # of a language model's answer
TOKEN_SECONDS = 1.0  # for each token of an answer, where a server streams it; the slowest
CHAT_TEMPLATE_SECONDS = 30.0
CHAT_TEMPLATE_MEMORY = 512 * MIB
TOKENIZER_SECONDS = 60.0  # of one batch, and for each character of it:
CHARACTER_SECONDS = 1e-4
LOCK_SECONDS = 30.0
FOLDER_DEPTH = 64
HITS = 1_000
SCENES = 1_000_000  # of one rendered data set
EPISODES = 100_000  # of one data set of a robot
SCENE_SIDE = 2_048  # pixels
PROMPT_CHARACTERS = 200_000
LABELS = 10_000  # of one classification
LABEL_CHARACTERS = 1_000
TEMPLATES = 100
TEMPLATE_CHARACTERS = 1_000
TEMPLATE_LABELS = 8  # times that one template names its label
LABELLED_IMAGES = 100_000  # of one measurement
LOGITS = 20_000_000  # images times labels that a temperature is fitted on
IMAGES = 10_000  # of one request
BEST_OF = 64  # images generated for each one that is kept
GRID_CELLS = 100  # of a grid of images
BATCH_IMAGES = 64  # generated at once
LORAS = 64  # on one model
LORA_SCALE = 100.0  # either way
CONTROLS = 16  # of one image
GUIDES = 16  # of one image
REGIONS = 8  # of one image, evaluated in one batch
GENERATED_SIDE = 4_096  # pixels, of a generated image
SAMPLING_STEPS = 10_000
TRAINED_IMAGES = 10_000  # that a diffusion model is trained at once
TRAINING_STEPS = 100_000_000
BATCH = 65_536  # items of one step
TRAINING_MINUTES = 100_000
CONVERTER_MEMORY = 16 * 1024 * MIB  # address space; PyTorch reserves much more than it uses
CONVERTER_SECONDS = 900  # of processor time
CONVERTED_FILE = 2 * 1024 * MIB  # of a fetched model
FETCH_SECONDS = 3_600.0
DATA_FILE = 1024 * MIB  # a table of labeled data
SHEET_CELLS = 20_000_000  # of an Excel sheet, empty ones among them
DATA_ROWS = 10_000_000
DATA_UNPACKED = 1024 * MIB  # contents of a table or a zip of texts, unpacked
DATA_ARCHIVE_ENTRIES = 1_000_000  # of a zip of labeled data
DATA_TEXT = 1 * MIB  # one labeled text in a file of its own
CLASSES = 10_000
FORECAST = 10_000  # values ahead
SEASON = 100_000  # steps
RECORD_CHARACTERS = 8_000_000  # of the request in an image's metadata


def require_file_size(path: Path, limit: int, what: str) -> int:
    """Return the size of `path`; raise `LimitExceeded` above `limit` bytes."""
    size = path.stat().st_size
    if size > limit:
        raise LimitExceeded(
            f"{what} {path.name!r} has {size:,} bytes; at most {limit:,} are read.",
            "Split the file or leave it out.",
        )
    return size
