"""Moving a trained network to other images: what to hold still, and how to move without labels."""

from kdlib.adaptation.adversaries import CDAN, DANN, ramp
from kdlib.adaptation.averages import MeanTeacher
from kdlib.adaptation.batchnorm import adabn
from kdlib.adaptation.freezing import freeze, unfreeze
from kdlib.adaptation.terms import CORAL, MCC, MMD, InformationMaximization
