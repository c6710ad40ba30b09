"""Whole networks, each on one screen."""

from ._boxes import nms as nms
from .face_detector import FaceDetector as FaceDetector
from .gan import DCGAN as DCGAN
from .gan import Discriminator as Discriminator
from .gan import Generator as Generator
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
from .unet import PatchDiscriminator as PatchDiscriminator
from .unet import UNet as UNet

__all__ = [
    "DCGAN",
    "MLP",
    "MTCNN",
    "Discriminator",
    "FaceDetector",
    "Generator",
    "IntentClassifier",
    "LanguageModel",
    "LeNet",
    "Neuron",
    "PatchDiscriminator",
    "Pronouncer",
    "ResNet",
    "SentenceEncoder",
    "SpeechRecognizer",
    "Translator",
    "UNet",
    "nms",
]
