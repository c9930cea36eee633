"""Images or sequences, labels and domains as tensors on one device."""

from kdlib.data.cifar import channel_statistics
from kdlib.data.examples import Batch, Examples
from kdlib.data.folders import cache_root, data_root
from kdlib.data.languages import Language, as_words, words
from kdlib.data.sealed import SealedLabels
from kdlib.data.shifts import SHIFTS, severity
from kdlib.data.sources import Splits, load, names, verify
from kdlib.data.streams import Stream
from kdlib.data.targets import Targets
from kdlib.data.tokens import Sequences
from kdlib.data.transfer import transfer_set
from kdlib.data.transforms import cutmix, each_image, jitter, mixup
