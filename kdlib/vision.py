"""torchvision, guarded.

A CPU-only torch beside the registry's CUDA-linked torchvision dies on `import torchvision` with
"operator torchvision::nms does not exist": torchvision's library of compiled operators could not
be loaded, yet its Python half registers fake kernels for some of them. Datasets, transforms and
models need none of these operators, so we declare exactly the one that the message names and
import again, until no message comes. On a matched pair nothing is declared and nothing is changed.
"""

import importlib
import re
import sys
from types import ModuleType

import torch

_SCHEMAS = {"nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"}
_declared: list[torch.library.Library] = []  # a Library's operators live as long as it does


def _import_torchvision() -> tuple[ModuleType, bool]:
    operator = None
    while True:
        try:
            return importlib.import_module("torchvision"), operator is not None
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None or missing.group(1) == operator:
                raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # half-imported
        operator = missing.group(1)
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define(_SCHEMAS.get(operator, f"{operator}() -> ()"))
        _declared.append(library)


torchvision, mended = _import_torchvision()
datasets = importlib.import_module("torchvision.datasets")
models = importlib.import_module("torchvision.models")
transforms = importlib.import_module("torchvision.transforms.v2")
