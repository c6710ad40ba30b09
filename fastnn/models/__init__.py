"""Whole networks, each on one screen."""

from ._boxes import nms as nms
from .face_detector import FaceDetector as FaceDetector
from .intent import IntentClassifier as IntentClassifier
from .language_model import LanguageModel as LanguageModel
from .lenet import LeNet as LeNet
from .mlp import MLP as MLP
from .mlp import Neuron as Neuron
from .mtcnn import MTCNN as MTCNN
from .pronouncer import Pronouncer as Pronouncer
from .resnet import ResNet as ResNet
from .sentence_encoder import SentenceEncoder as SentenceEncoder
from .speech import SpeechRecognizer as SpeechRecognizer
from .translator import Translator as Translator

__all__ = [
    "MLP",
    "MTCNN",
    "FaceDetector",
    "IntentClassifier",
    "LanguageModel",
    "LeNet",
    "Neuron",
    "Pronouncer",
    "ResNet",
    "SentenceEncoder",
    "SpeechRecognizer",
    "Translator",
    "nms",
]
