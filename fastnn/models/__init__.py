"""Whole networks, each on one screen."""

from ._boxes import nms as nms
from .face_detector import FaceDetector as FaceDetector
from .language_model import LanguageModel as LanguageModel
from .lenet import LeNet as LeNet
from .mlp import MLP as MLP
from .mlp import Neuron as Neuron
from .mtcnn import MTCNN as MTCNN
from .resnet import ResNet as ResNet
from .translator import Translator as Translator

__all__ = ["MLP", "MTCNN", "FaceDetector", "LanguageModel", "LeNet", "Neuron", "ResNet", "Translator", "nms"]
