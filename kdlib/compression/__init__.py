"""Networks made smaller: pruned, quantised, factorised; what each costs then, and its export."""

from kdlib.compression.channels import smaller
from kdlib.compression.exporting import export
from kdlib.compression.factorising import factorise
from kdlib.compression.measuring import (
    Cost,
    Latency,
    bytes_on_disk,
    cost,
    latency,
    zipped_bytes,
)
from kdlib.compression.permanent import made_permanent
from kdlib.compression.pruning import nonzero, prune
from kdlib.compression.quantising import quantise
from kdlib.compression.rounding import rounded
