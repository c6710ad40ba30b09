"""Networks as scikit-learn estimators, for pipelines and searches: `pip install "fastnn[sklearn]"`."""

from .._extras import require

require("sklearn", "sklearn", "fastnn.sklearn")

from ._classifier import FastnnClassifier as FastnnClassifier  # noqa: E402
from ._regressor import FastnnRegressor as FastnnRegressor  # noqa: E402

__all__ = ["FastnnClassifier", "FastnnRegressor"]
