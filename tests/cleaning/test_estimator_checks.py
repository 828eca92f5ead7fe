"""scikit-learn's own checks of estimators, and its manners inside other estimators."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from treeinf.cleaning import InfluenceCleaner

lightgbm = pytest.importorskip("lightgbm")

# Rows are dealt to folds and halves one by one, so a row of weight 2 is not two rows.
FAIL_FOR_A_REASON = {
    "check_sample_weight_equivalence_on_dense_data": "weights are not copies of rows",
    "check_sample_weight_equivalence_on_sparse_data": "weights are not copies of rows",
}


def tiny(kind, **kwargs):
    settings = {"n_estimators": 10, "learning_rate": 0.3, "min_child_samples": 2}
    return getattr(lightgbm, kind)(verbose=-1, num_leaves=6, **settings, **kwargs)


CLEANERS = [
    InfluenceCleaner(tiny(kind), validation=3, amount=0.1)
    for kind in ("LGBMClassifier", "LGBMRegressor")
]


# LightGBM's own, of what scikit-learn passes to predict.
@pytest.mark.filterwarnings("ignore:Converting data to scipy sparse matrix")
@parametrize_with_checks(
    CLEANERS, expected_failed_checks=lambda estimator: FAIL_FOR_A_REASON
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
